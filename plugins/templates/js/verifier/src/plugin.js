// The component: describes itself, and hands a snapshot to the check.
import { write as log } from 'holdfast:host/log@0.1.0';
import { Query } from 'holdfast:snapshot/reader@0.1.0';
import { description, verify as check } from './check.js';
import { secret, state } from './grants.js';
import { PluginError } from './holdfast.js';
import { send } from './http.js';
import { Snapshot } from './snapshot.js';

export const plugin = {
  describe() {
    const { configSchema, remembers, ...rest } = description;
    return { ...rest, configSchema: JSON.stringify(configSchema), attributes: remembers ? [['memo', 'yes']] : [] };
  },
};

const host = { send: (url, options) => send(fetch, url, options), secret, state, log };

export const verify = {
  async verify(subject, context, config) {
    try {
      const report = await check(new Snapshot(subject, Query), JSON.parse(config), Object.fromEntries(context), host);
      return report.finish();
    } catch (error) {
      // What is thrown as { code, message } is the error of the step; anything else is a bug, and ends the plugin.
      if (error instanceof PluginError) throw { code: error.code, message: error.message };
      const read = error?.payload;
      if (read?.code) throw { code: 'snapshot', message: `the snapshot cannot be read (${read.code}): ${read.message}` };
      throw error;
    }
  },
};
