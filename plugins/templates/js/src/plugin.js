// The component: describes itself, and hands a snapshot to the check.
import { Query } from 'holdfast:snapshot/reader@0.1.0';
import { check } from './check.js';

export const plugin = {
  describe() {
    return {
      name: '{{name}}',
      version: '0.1.0',
      summary: '{{summary}}',
      // JSON Schema of the config: the agent checks a config with it before `verify` sees it.
      configSchema: JSON.stringify({
        type: 'object',
        additionalProperties: false,
        required: ['prefix'],
        properties: {
          prefix: { type: 'string', description: 'How the keys begin that are counted.' },
          at_least: { type: 'integer', default: 1, description: 'How many of them there must be.' },
        },
      }),
      wants: [],
      attributes: [],
    };
  },
};

export const verify = {
  // What is thrown as { code, message } is the error of the step.
  verify(snapshot, context, config) {
    return check(snapshot, () => new Query(), JSON.parse(config));
  },
};
