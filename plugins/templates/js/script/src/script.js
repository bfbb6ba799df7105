// The script: {{summary}}. It knows nothing of WebAssembly, so that it is tested with `npm test`.
import { text } from './holdfast.js';
import { Report } from './report.js';

export const description = {
  name: '{{name}}',
  version: '0.1.0',
  summary: '{{summary}}',
  // Lines of an `allow` table that it would like.
  wants: [],
  // JSON Schema of the config: the agent checks a config with it before `run` sees it.
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
 * Looks, writes, and reports: the database is thrown away afterwards. Throw a `PluginError` when it could not do its work. `host` is what the
 * agent grants: send(url, options), secret(name), state, log(level, line); with `async`, `await host.send(..)`.
 */
export function run(database, { prefix, at_least = 1 }, context, host) {
  const report = new Report();
  const keys = database.count({ prefix });
  report.summary = `${keys} keys begin with \`${prefix}\``;
  if (keys < at_least) report.error('too-few', null, `${report.summary}, fewer than ${at_least}`);
  const key = '/{{name}}/trial';
  database.put(key, 'written');
  const row = database.get(key);
  if (row === undefined || text(row.value) !== 'written') report.error('not-written', key, `\`${key}\` is not read as it was written`);
  else report.summary += ', and more can be written';
  report.measure('keys', keys, 'keys');
  return report;
}
