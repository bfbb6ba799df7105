// Checks that no object lies in a namespace that is gone.
import { parseObjectKey } from './holdfast.js';
import { Report } from './report.js';

export const description = {
  name: 'orphans',
  version: '0.1.0',
  summary: 'Checks that no object lies in a namespace that is gone',
  wants: [],
  remembers: false,
  configSchema: {
    type: 'object',
    additionalProperties: false,
    properties: {
      ignore: { type: 'array', items: { type: 'string' }, default: [], description: 'Resources that do not count.' },
      at_most: { type: 'integer', minimum: 0, default: 0, description: 'So many orphans are borne.' },
    },
  },
};

// What lies below the prefix like objects of a namespace, and is none: the API server's own.
const NOT_OBJECTS = ['masterleases', 'peerserverleases', 'ranges'];

export function verify(snapshot, { ignore = [], at_most: atMost = 0 }) {
  const passed = new Set([...NOT_OBJECTS, ...ignore]);
  const namespaces = new Set();
  for (const { key } of snapshot.rows({ prefix: '/registry/namespaces/', columns: 'keys' })) {
    const object = parseObjectKey(key);
    if (object) namespaces.add(object.name);
  }
  const report = new Report();
  if (namespaces.size === 0) {
    report.undecided('no-namespaces', null, 'there is no namespace in the snapshot');
    report.summary = 'there are no namespaces: this is no snapshot of Kubernetes';
    return report;
  }

  let objects = 0;
  const orphans = [];
  for (const { key } of snapshot.rows({ prefix: '/registry/', columns: 'keys' })) {
    const object = parseObjectKey(key);
    if (!object?.namespace || passed.has(object.resource)) continue;
    objects += 1;
    if (!namespaces.has(object.namespace)) orphans.push([key.slice(), object]);
  }
  const grave = orphans.length > atMost;
  for (const [key, { resource, namespace, name }] of orphans) {
    report[grave ? 'error' : 'warning']('orphan', key, `${resource} \`${name}\` lies in the namespace \`${namespace}\`, which is not there`);
  }
  report.summary = `${orphans.length} of ${objects} objects lie in namespaces that are gone`;
  report.measure('objects', objects, 'objects');
  report.measure('orphans', orphans.length, 'objects');
  return report;
}
