// The component: describes itself, and hands the agent's calls to the store.
import { write as log } from 'holdfast:host/log@0.1.1';
import { secret, state } from './grants.js';
import { PluginError } from './holdfast.js';
import { download, send, upload } from './http.js';
import { description, features, Store } from './store.js';

export const plugin = {
  describe() {
    const { configSchema, ...rest } = description;
    return { ...rest, configSchema: JSON.stringify(configSchema), attributes: [] };
  },
};

const host = { send, upload, download, secret, state, log };

// What is thrown as { code, message } is the answer to the agent; anything else is a bug, and ends the plugin.
function told(call) {
  try {
    return call();
  } catch (error) {
    if (error instanceof PluginError) throw { code: error.code, message: error.message, attributes: error.attributes ?? [] };
    throw error;
  }
}

// A body that breaks off, or a sink that nobody reads from.
function transferred(call) {
  try {
    return call();
  } catch (error) {
    const { code, message } = error?.payload ?? {};
    throw code === undefined ? error : new PluginError(code, message);
  }
}

const given = (body) => ({
  get sizeBytes() {
    const size = body.sizeBytes();
    return size === undefined ? undefined : Number(size);
  },
  read: (maxBytes) => transferred(() => body.read(maxBytes)),
});

const taking = (sink) => ({
  begin: (sizeBytes, tag = '') => transferred(() => sink.begin(BigInt(sizeBytes), tag)),
  write: (bytes) => transferred(() => sink.write(bytes)),
});

const shown = ({ path, sizeBytes, modified, tag = '', lockedUntil }) => ({
  path,
  sizeBytes: BigInt(sizeBytes),
  modified: modified === undefined ? undefined : BigInt(modified),
  tag,
  attributes: lockedUntil === undefined ? [] : [['locked-until', lockedUntil]],
});

// Sizes are numbers here: exact up to 8 PiB.
const opened = (config, context) => new Store(JSON.parse(config), host, Object.fromEntries(context));

export const objects = {
  features: (config) => told(() => features(JSON.parse(config))),
  probe: (config, context) => told(() => opened(config, context).probe()),
  put: (config, context, path, body) => told(() => BigInt(opened(config, context).put(path, given(body)))),
  get: (config, context, path, start, end, into) =>
    told(() => opened(config, context).get(path, Number(start), end === undefined ? undefined : Number(end), taking(into))),
  head(config, context, path) {
    const found = told(() => opened(config, context).head(path));
    return found && shown(found);
  },
  list(config, context, prefix, after, limit) {
    const { objects: found, next } = told(() => opened(config, context).list(prefix, after, limit));
    return { objects: found.map(shown), next };
  },
  delete: (config, context, path) => told(() => opened(config, context).delete(path)),
  sweep: (config, context, ageSeconds) => told(() => BigInt(opened(config, context).sweep(Number(ageSeconds)))),
};
