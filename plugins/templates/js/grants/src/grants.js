// What the agent grants besides HTTP: secrets by name, and small stores of keys and values.
import { get } from 'holdfast:host/secrets@0.1.1';
import * as stores from 'holdfast:host/state@0.1.1';
import { PluginError } from './holdfast.js';

// What is not granted is a PluginError `denied`.
const granted = (call) => (...asked) => {
  try {
    return call(...asked);
  } catch (error) {
    const { code, message } = error?.payload ?? {};
    throw code === undefined ? error : new PluginError(code, message);
  }
};

export const secret = granted(get);
export const state = {
  get: granted(stores.get),
  set: granted(stores.set),
  delete: granted(stores.delete),
  keys: granted(stores.keys),
};
