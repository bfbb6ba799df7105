import assert from 'node:assert/strict';
import { test } from 'node:test';
import { verify } from '../src/check.js';
import { memoryHost } from '../src/memory-host.js';
import { memorySnapshot } from '../src/memory.js';

const snapshot = memorySnapshot({ '/app/a': '1', '/app/b': '2', '/other': '3' });
const outcome = async (config) => (await verify(snapshot, config, {}, memoryHost(() => [200]))).outcome;

test('enough keys pass', async () => assert.equal(await outcome({ prefix: '/app/', at_least: 2 }), 'passed'));
test('too few keys fail', async () => assert.equal(await outcome({ prefix: '/app/', at_least: 3 }), 'failed'));
