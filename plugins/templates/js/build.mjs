// Bundles src/ into one file, and makes it a component: {{name}}.wasm.
import { componentize } from '@bytecodealliance/componentize-js';
import { readFile, writeFile } from 'node:fs/promises';

// A component is one module; ours are few and import nothing else, so joining them is enough.
const check = await readFile('src/check.js', 'utf8');
const plugin = await readFile('src/plugin.js', 'utf8');
const source = check + plugin.replace(/^import .* from '\.\/check\.js';$/m, '');

const { component } = await componentize(source, {
  witPath: 'wit',
  worldName: 'verifier',
  sourceName: 'plugin.js',
  // A verifier is given a snapshot and a log, nothing of these.
  disableFeatures: ['random', 'stdio', 'clocks', 'http', 'fetch-event'],
});
await writeFile('{{name}}.wasm', component, { mode: 0o644 });
