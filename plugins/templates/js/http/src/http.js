// HTTP, through the agent's own sender: to what is granted (`allow = { http = [...] }`) and wanted, with TLS and proxies as the operator
// has them. No redirect is followed.
import { PluginError } from './holdfast.js';

/**
 * Sends a request. `options` are those of `fetch`, and `json` in place of `body`. Gives { status, headers, text }; a request that could
 * not be sent is a PluginError `unavailable`, to be tried again, or `denied`.
 */
export async function send(fetch, url, { json, headers = {}, ...options } = {}) {
  const sent = new Headers(headers);
  let { body } = options;
  if (json !== undefined) {
    body = JSON.stringify(json);
    if (!sent.has('content-type')) sent.set('content-type', 'application/json');
  }
  try {
    const answer = await fetch(url, { ...options, headers: sent, body });
    return { status: answer.status, headers: answer.headers, text: await answer.text() };
  } catch (error) {
    // The agent's own finding says what was refused, and what would grant it.
    throw new PluginError('unavailable', `${origin(url)} cannot be asked: ${error?.message ?? error}`);
  }
}

// Paths and queries of hooks are secrets often enough.
const origin = (url) => /^[a-z]+:\/\/[^/?#]*/i.exec(url)?.[0] ?? 'the URL';

/** Lets an answer of success pass, and throws what the agent makes of others: `unavailable` is tried again, `refused` is final. */
export function check({ status, headers, text }) {
  if (status >= 200 && status < 300) return;
  const later = status === 429 || status === 408 || status >= 500;
  const said = text.replace(/\s+/g, ' ').slice(0, 200);
  const error = new PluginError(later ? 'unavailable' : 'refused', `it answered ${status}${said && `: ${said}`}`);
  const pause = headers.get('retry-after');
  if (/^\d+$/.test(pause ?? '')) error.attributes = [['retry-after', pause]];
  throw error;
}
