// The verifier: {{summary}}. It knows nothing of WebAssembly, so that it is tested with `npm test`.
import { Report } from './report.js';

export const description = {
  name: '{{name}}',
  version: '0.1.0',
  summary: '{{summary}}',
  // Lines of an `allow` table that it would like.
  wants: [],
  // Is it given back what it put into `report.memo` for the backup before?
  remembers: false,
  // JSON Schema of the config: the agent checks a config with it before `verify` sees it.
  configSchema: {
    type: 'object',
    additionalProperties: false,
    required: ['prefix'],
    properties: {
      prefix: { type: 'string', description: 'How the keys begin that are counted.' },
      at_least: { type: 'integer', minimum: 0, default: 1, description: 'How many of them there must be.' },
    },
  },
};

/**
 * Looks, and reports. Throw a `PluginError` when it could not do its work. `host` is what the agent grants: send(url, options), secret(name),
 * state, log(level, line); with `async`, `await host.send(..)`.
 */
export function verify(snapshot, { prefix, at_least = 1 }, context, host) {
  // The agent counts; no row crosses over. To look at rows: `for (const row of snapshot.rows({ prefix }))`.
  const { keys } = snapshot.totals({ prefix });
  const report = new Report();
  report.summary = `${keys} keys begin with \`${prefix}\``;
  if (keys < at_least) report.error('too-few', null, `${report.summary}, fewer than ${at_least}`);
  report.measure('keys', keys, 'keys');
  return report;
}
