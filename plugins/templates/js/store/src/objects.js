// Why a call of a store could not be done, in the codes of the contract. It knows nothing of WebAssembly.
import { PluginError } from './holdfast.js';

export const notFound = (path) => new PluginError('not-found', `there is no \`${path}\``);
export const exists = (path) => new PluginError('exists', `\`${path}\` is there already`);

/** What a server answered, when it is no success and nothing that the store knows better: by its status. */
export function answered({ status, headers, text }) {
  const said = text.replace(/\s+/g, ' ').trim().slice(0, 300);
  const message = `the server answers ${status}${said && `: ${said}`}`;
  if ([401, 403, 407].includes(status)) return new PluginError('denied', message);
  if (status === 507) return new PluginError('full', message);
  if (status >= 300 && status < 400) {
    const to = headers.location ?? 'somewhere else';
    return new PluginError('config', `the server answers ${status} and leads to \`${to}\`: name that address`);
  }
  if (![408, 423, 425, 429, 500, 502, 503, 504].includes(status)) return new PluginError('http', message);
  const error = new PluginError('unavailable', message);
  const pause = headers['retry-after'];
  if (/^\d+$/.test(pause ?? '')) error.attributes = [['retry-after', pause]];
  return error;
}
