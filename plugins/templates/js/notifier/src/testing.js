// What tests put in place of the agent.
import { send } from './http.js';

/** An event as the agent makes it; `parts` replace some of it. */
export function sampleEvent(parts = {}) {
  const event = {
    id: 'd41d8cd98f00b204',
    time: '2026-11-21T03:00:00Z',
    kind: 'backup.failed',
    severity: 'error',
    summary: 'the backup of cluster `prod-eu` failed: no member could be reached',
    cluster: 'prod-eu',
    attributes: { session: '5f0c1d2e3a4b5c6d', problem: 'backup', status: 'firing', attempt: '1' },
    ...parts,
  };
  const { id, time, kind: type, attributes, ...data } = event;
  return { cloudevent: JSON.stringify({ specversion: '1.0', id, time, type, source: 'holdfast', data }), ...event };
}

/** A host that answers every request by `answer(url, options)`, which gives [status, text, headers]; what was sent is in `sent`. */
export function testHost(answer, { secrets = {} } = {}) {
  const sent = [];
  const fetch = async (url, options) => {
    sent.push({ url, ...options });
    const [status, text = '', headers = {}] = await answer(url, options);
    return new Response(text, { status, headers });
  };
  const secret = (name) => {
    if (!(name in secrets)) throw Object.assign(new Error('denied'), { payload: { code: 'denied', message: `\`${name}\` is not granted` } });
    return secrets[name];
  };
  return { sent, send: (url, options) => send(fetch, url, options), secret, log() {} };
}
