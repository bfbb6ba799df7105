// The component: describes itself, and hands the restored etcd to the script.
import { Query } from 'holdfast:script/database@0.1.0';
import { Database } from './database.js';
import { PluginError } from './holdfast.js';
import { description, run as script } from './script.js';

export const plugin = {
  describe() {
    const { configSchema, ...rest } = description;
    return { ...rest, configSchema: JSON.stringify(configSchema), attributes: [] };
  },
};

export const run = {
  run(subject, context, config) {
    try {
      return script(new Database(subject, Query), JSON.parse(config), Object.fromEntries(context)).finish();
    } catch (error) {
      // What is thrown as { code, message } is the error of the step; anything else is a bug, and ends the plugin.
      if (error instanceof PluginError) throw { code: error.code, message: error.message };
      const refused = error?.payload;
      if (refused?.code) throw { code: 'database', message: `the database cannot be asked (${refused.code}): ${refused.message}` };
      throw error;
    }
  },
};
