import assert from 'node:assert/strict';
import { test } from 'node:test';
import { check } from '../src/check.js';

// As much of a snapshot as the check asks for.
const keys = ['/app/a', '/app/b', '/other'];
const snapshot = {
  totals: ({ wanted }) => ({ keys: BigInt(keys.filter((key) => key.startsWith(wanted)).length) }),
};
const newQuery = () => ({ prefix(bytes) { this.wanted = String.fromCharCode(...bytes); } });
const outcome = (config) => check(snapshot, newQuery, config).outcome;

test('enough keys pass', () => assert.equal(outcome({ prefix: '/app/', at_least: 2 }), 'passed'));
test('too few keys fail', () => assert.equal(outcome({ prefix: '/app/', at_least: 3 }), 'failed'));
