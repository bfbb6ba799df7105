// Bundles src/ into one module, and makes it a component: {{name}}.wasm.
import { componentize } from '@bytecodealliance/componentize-js';
import { build } from 'esbuild';
import { rename, writeFile } from 'node:fs/promises';

const bundle = await build({
  entryPoints: ['src/plugin.js'],
  bundle: true,
  format: 'esm',
  external: ['holdfast:*', 'wasi:*'],
  write: false,
});

const { component } = await componentize(bundle.outputFiles[0].text, {
  witPath: 'wit',
  worldName: '{{world}}',
  sourceName: 'plugin.js',
  // No plugin has a clock, randomness or an output.
  disableFeatures: ['random', 'stdio', 'clocks', 'fetch-event'],
});
// Whole or not at all: an agent may be watching.
await writeFile('.{{name}}.wasm.tmp', component, { mode: 0o644 });
await rename('.{{name}}.wasm.tmp', '{{name}}.wasm');
