// What stands for the agent's grants in tests.
import { PluginError } from './holdfast.js';
import { send } from './http.js';

/** A host that answers every request by `answer(url, options)`, which gives [status, text, headers]; what was sent is in `sent`. */
export function memoryHost(answer, { secrets = {} } = {}) {
  const sent = [];
  const fetch = async (url, options) => {
    sent.push({ url, ...options });
    const [status, text = '', headers = {}] = await answer(url, options);
    return new Response(text, { status, headers });
  };
  const secret = (name) => {
    if (!(name in secrets)) throw new PluginError('denied', `\`${name}\` is not granted`);
    return secrets[name];
  };
  return { sent, send: (url, options) => send(fetch, url, options), secret, log() {} };
}
