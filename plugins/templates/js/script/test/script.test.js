import assert from 'node:assert/strict';
import { test } from 'node:test';
import { memoryDatabase } from '../src/memory.js';
import { run } from '../src/script.js';

const outcome = (config) => run(memoryDatabase({ '/app/a': '1', '/app/b': '2', '/other': '3' }), config, {}).outcome;

test('enough keys pass', () => assert.equal(outcome({ prefix: '/app/', at_least: 2 }), 'passed'));
test('too few keys fail', () => assert.equal(outcome({ prefix: '/app/', at_least: 3 }), 'failed'));
