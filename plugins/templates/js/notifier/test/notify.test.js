import assert from 'node:assert/strict';
import { test } from 'node:test';
import { memoryHost } from '../src/memory-host.js';
import { notify } from '../src/notify.js';
import { sampleEvent } from '../src/testing.js';

const url = 'https://events.example.org/hook';

test('an event is posted whole', async () => {
  const host = memoryHost(() => [202], { secrets: { token: 'opensesame' } });
  const event = sampleEvent();
  assert.equal(await notify(event, { url, token_secret: 'token' }, host), 'answered 202');
  const [request] = host.sent;
  assert.equal(request.body, event.cloudevent);
  assert.equal(request.headers.get('authorization'), 'Bearer opensesame');
});

test('what is not taken is tried again, or not', async () => {
  const attempt = (...answer) => notify(sampleEvent(), { url }, memoryHost(() => answer));
  await assert.rejects(attempt(503, 'not now', { 'retry-after': '7' }), { code: 'unavailable', attributes: [['retry-after', '7']] });
  await assert.rejects(attempt(404), { code: 'refused' });
});
