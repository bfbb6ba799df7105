// The component: describes itself, and hands the restored etcd to the script.
import { write as log } from 'holdfast:host/log@0.1.0';
import { Query } from 'holdfast:script/database@0.1.0';
import { Database } from './database.js';
import { secret, state } from './grants.js';
import { PluginError } from './holdfast.js';
import { send } from './http.js';
import { description, run as script } from './script.js';

export const plugin = {
  describe() {
    const { configSchema, ...rest } = description;
    return { ...rest, configSchema: JSON.stringify(configSchema), attributes: [] };
  },
};

const host = { send: (url, options) => send(fetch, url, options), secret, state, log };

export const run = {
  async run(subject, context, config) {
    try {
      const report = await script(new Database(subject, Query), JSON.parse(config), Object.fromEntries(context), host);
      return report.finish();
    } catch (error) {
      // What is thrown as { code, message } is the error of the step; anything else is a bug, and ends the plugin.
      if (error instanceof PluginError) throw { code: error.code, message: error.message };
      const refused = error?.payload;
      if (refused?.code) throw { code: 'database', message: `the database cannot be asked (${refused.code}): ${refused.message}` };
      throw error;
    }
  },
};
