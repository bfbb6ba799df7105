// The notifier: {{summary}}. It knows nothing of WebAssembly, so that it is tested with `npm test`.
import { check } from './http.js';

export const description = {
  name: '{{name}}',
  version: '0.1.0',
  summary: '{{summary}}',
  // Lines of an `allow` table that it would like. Where the event goes is the operator's to say.
  wants: ['http = ["*"]', 'secrets = ["*"]'],
  // JSON Schema of the config: the agent checks a config with it before `notify` sees it.
  configSchema: {
    type: 'object',
    additionalProperties: false,
    required: ['url'],
    properties: {
      url: { type: 'string', format: 'uri', description: 'Where events are posted to.' },
      token_secret: { type: 'string', description: 'The name of a secret that is sent as a bearer token.' },
    },
  },
};

/**
 * Delivers one event: { id, time, kind, severity, summary, cluster, cloudevent, attributes }, attributes by name. What it gives back is
 * one line on what the far end said; a PluginError says why the event was not delivered, and whether to try again: `config` and `refused`
 * are final, anything else is tried again. `host` is what the agent grants: send(url, options), secret(name), state, log(level, line).
 */
export async function notify(event, { url, token_secret: token }, host) {
  const headers = { 'content-type': 'application/cloudevents+json' };
  if (token !== undefined) headers.authorization = `Bearer ${host.secret(token)}`;
  const answer = await host.send(url, { method: 'POST', headers, body: event.cloudevent });
  check(answer);
  return `answered ${answer.status}`;
}
