import assert from 'node:assert/strict';
import { test } from 'node:test';
import { memoryHost } from '../src/memory-host.js';
import { memoryDatabase } from '../src/memory.js';
import { run } from '../src/script.js';

const database = () => memoryDatabase({ '/app/a': '1', '/app/b': '2', '/other': '3' });
const outcome = async (config) => (await run(database(), config, {}, memoryHost(() => [200]))).outcome;

test('enough keys pass', async () => assert.equal(await outcome({ prefix: '/app/', at_least: 2 }), 'passed'));
test('too few keys fail', async () => assert.equal(await outcome({ prefix: '/app/', at_least: 3 }), 'failed'));
