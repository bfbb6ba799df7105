import assert from 'node:assert/strict';
import { test } from 'node:test';
import { verify } from '../src/check.js';
import { memorySnapshot } from '../src/memory.js';

const cluster = {
  '/registry/namespaces/web': 'k8s',
  '/registry/pods/web/a': 'k8s',
  '/registry/services/specs/gone/b': 'k8s',
  '/registry/events/gone/c': 'k8s',
  '/registry/minions/node': 'k8s',
};

test('an object without its namespace is named', () => {
  const report = verify(memorySnapshot(cluster), { ignore: ['events'] });
  assert.equal(report.outcome, 'failed');
  assert.equal(report.summary, '1 of 2 objects lie in namespaces that are gone');
  const [finding] = report.finish().findings;
  assert.equal(finding.message, 'services `b` lies in the namespace `gone`, which is not there');
});

test('some may be borne', () => {
  assert.equal(verify(memorySnapshot(cluster), { at_most: 2 }).outcome, 'passed');
  assert.equal(verify(memorySnapshot(cluster), { at_most: 1 }).count('orphan'), 2);
});

test('what is no cluster is not decided', () => {
  assert.equal(verify(memorySnapshot({ '/app/a': '1' }), {}).outcome, 'inconclusive');
});

test('a snapshot that breaks off is an error', () => {
  assert.throws(() => verify(memorySnapshot(cluster, { damagedAfter: 1 }), {}));
});
