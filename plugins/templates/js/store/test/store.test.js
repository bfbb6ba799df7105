import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Store } from '../src/store.js';
import { memoryBody, memorySink, testHost } from '../src/testing.js';

const store = (host) => new Store({ url: 'https://objects.example.org/etcd/' }, host, {});
const answering = (...answer) => store(testHost(() => answer));
const ranged = (...part) => store(testHost(({ method }) => (method === 'HEAD' ? [200, '', { 'content-length': '10', etag: '7' }] : part)));

test('an object is sent whole', () => {
  const host = testHost(() => [201]);
  assert.equal(store(host).put('data/a', memoryBody('hello')), 5);
  const headers = { 'if-none-match': '*' };
  assert.deepEqual(host.sent, [{ method: 'PUT', url: 'https://objects.example.org/etcd/data/a', headers, body: 'hello' }]);
});

test('an object that is there is not replaced', () => {
  assert.throws(() => answering(412).put('data/a', memoryBody('hello')), { code: 'exists' });
});

test('a body that breaks off is not stored', () => {
  assert.throws(() => answering(201).put('data/a', memoryBody('hello', { breaksOff: true })), { code: 'broken' });
});

test('a range is handed on', () => {
  const sink = memorySink();
  ranged(206, 'cde').get('data/a', 2, 5, sink);
  assert.deepEqual([sink.begun, sink.text], [[10, '7'], 'cde']);
});

test('an answer that ends early is taken up again', () => {
  assert.throws(() => ranged(206, 'c').get('data/a', 2, 5, memorySink()), { code: 'unavailable' });
});

test('what the server refuses is told', () => {
  for (const [status, code] of [[503, 'unavailable'], [403, 'denied'], [507, 'full'], [301, 'config'], [418, 'http']]) {
    assert.throws(() => answering(status).delete('data/a'), { code });
  }
});

test('a listing goes on', () => {
  const page = answering(200, '{"objects": [{"path": "a", "size_bytes": 1}], "next": "a"}').list('', undefined, 1);
  assert.deepEqual(page, { objects: [{ path: 'a', sizeBytes: 1 }], next: 'a' });
});
