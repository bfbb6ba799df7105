// The component: describes itself, and hands events to the notifier.
import { write as log } from 'holdfast:host/log@0.1.1';
import { secret, state } from './grants.js';
import { PluginError } from './holdfast.js';
import { send } from './http.js';
import { description, notify as deliver } from './notify.js';

export const plugin = {
  describe() {
    const { configSchema, ...rest } = description;
    return { ...rest, configSchema: JSON.stringify(configSchema), attributes: [] };
  },
};

const host = { send: (url, options) => send(fetch, url, options), secret, state, log };

export const notify = {
  async notify(event, config) {
    try {
      const attributes = Object.fromEntries(event.attributes);
      return { summary: await deliver({ ...event, attributes }, JSON.parse(config), host), attributes: [] };
    } catch (error) {
      // What is thrown as { code, message } is told to the operator; anything else is a bug, and ends the plugin.
      if (error instanceof PluginError) throw { code: error.code, message: error.message, attributes: error.attributes ?? [] };
      throw error;
    }
  },
};
