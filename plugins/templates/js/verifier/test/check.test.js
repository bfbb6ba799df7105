import assert from 'node:assert/strict';
import { test } from 'node:test';
import { verify } from '../src/check.js';
import { memorySnapshot } from '../src/memory.js';

const snapshot = memorySnapshot({ '/app/a': '1', '/app/b': '2', '/other': '3' });
const outcome = (config) => verify(snapshot, config, {}).outcome;

test('enough keys pass', () => assert.equal(outcome({ prefix: '/app/', at_least: 2 }), 'passed'));
test('too few keys fail', () => assert.equal(outcome({ prefix: '/app/', at_least: 3 }), 'failed'));
