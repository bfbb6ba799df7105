// What a plugin works with, in the agent and in tests alike: bytes, Kubernetes' keys and values, findings. It knows nothing of WebAssembly.

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Keys and values are bytes; wherever some are asked for, a text will do. */
export const bytes = (of) => (typeof of === 'string' ? encoder.encode(of) : of);
/** Bytes as a text; what is no UTF-8 becomes U+FFFD. */
export const text = (of) => (typeof of === 'string' ? of : decoder.decode(of));

/** Throw it: the plugin could not do its work. Code: `config`, or one of your own. */
export class PluginError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

// ---- Kubernetes ----------------------------------------------------------------------------------------------------

// What the API calls it, by what it is stored under where that differs.
const STORED_UNDER_ANOTHER_NAME = new Map([
  ['services/endpoints', 'endpoints'],
  ['ingress', 'ingresses'],
  ['minions', 'nodes'],
  ['podsecuritypolicy', 'podsecuritypolicies'],
  ['controllers', 'replicationcontrollers'],
  ['services/specs', 'services'],
]);

/**
 * Which object a key is for: PREFIX/RESOURCE[/NAMESPACE]/NAME, or PREFIX/GROUP/RESOURCE[/NAMESPACE]/NAME. Gives { group, resource,
 * namespace, name }, with '' for what the key does not say, or undefined when it is not built as an object's key is. Resources are
 * called as the API calls them: `nodes`, though they lie under `minions`.
 */
export function parseObjectKey(key, prefix = '/registry') {
  const path = text(key);
  const below = `${prefix.replace(/\/+$/, '')}/`;
  if (!path.startsWith(below)) return undefined;
  const parts = path.slice(below.length).split('/');
  // A group always has a dot, and a built-in resource never has one.
  const group = parts.length > 1 && parts[0].includes('.') ? parts.shift() : '';
  let resource = parts.shift();
  if (group === '') {
    // The one resource that is stored under two parts.
    if (resource === 'services' && parts.length > 1 && ['specs', 'endpoints'].includes(parts[0])) resource += `/${parts.shift()}`;
    resource = STORED_UNDER_ANOTHER_NAME.get(resource) ?? resource;
  }
  if (parts.length < 1 || parts.length > 2 || !resource || parts.includes('')) return undefined;
  const [namespace, name] = parts.length === 2 ? parts : ['', parts[0]];
  return { group, resource, namespace, name };
}

const startsWith = (value, head) => value.length >= head.length && head.every((byte, index) => value[index] === byte);
const ENCRYPTED = encoder.encode('k8s:enc:');
const PROTOBUF = encoder.encode('k8s\0');

/** Is a value encrypted at rest, going by its first bytes? */
export const isEncrypted = (value) => startsWith(value, ENCRYPTED);

/**
 * What a stored value says of its object, from protobuf and JSON alike: { apiVersion, kind, namespace, name, uid, labels }; of an
 * encrypted one { encrypted: { provider, version, keyName } }; undefined when it is none of the ways in which an API server stores
 * objects. Throws when it begins as one and is broken; no error says what is in a value, which may be a Secret.
 */
export function parseObject(value) {
  if (isEncrypted(value)) {
    const parts = /^([^:]+):([^:]+):([^:]*):[^]/.exec(latin1(value.subarray(ENCRYPTED.length, ENCRYPTED.length + 1024)));
    if (!parts) throw new Error('broken head of an encrypted value');
    return { encrypted: { provider: parts[1], version: parts[2], keyName: parts[3] } };
  }
  let object;
  if (startsWith(value, PROTOBUF)) object = parseProtobuf(value.subarray(PROTOBUF.length));
  else if (value[value.findIndex((byte) => ![9, 10, 13, 32].includes(byte))] === 0x7b) object = parseJson(value);
  else return undefined;
  if (!object.kind || !object.apiVersion) throw new Error('it does not say what it is');
  return object;
}

const latin1 = (value) => Array.from(value, (byte) => String.fromCharCode(byte)).join('');

function parseJson(value) {
  let stored;
  try {
    stored = JSON.parse(text(value));
  } catch {
    throw new Error('broken JSON');
  }
  const { namespace = '', name = '', uid = '', labels = {} } = stored.metadata ?? {};
  return { apiVersion: stored.apiVersion ?? '', kind: stored.kind ?? '', namespace, name, uid, labels };
}

// Protobuf without schemas: only the envelope (1 type: 1 apiVersion, 2 kind; 2 the object) and the metadata (field 1 of the object: 1 name,
// 3 namespace, 5 uid, 11 labels) have fields that are known here. They are those of apimachinery's pkg/runtime/generated.proto and
// pkg/apis/meta/v1/generated.proto.
function parseProtobuf(envelope) {
  const object = { apiVersion: '', kind: '', namespace: '', name: '', uid: '', labels: {} };
  for (const [number, content] of fields(envelope)) {
    if (number === 1) Object.assign(object, texts(content, { 1: 'apiVersion', 2: 'kind' }));
    if (number !== 2) continue;
    for (const [inner, metadata] of fields(content)) {
      if (inner !== 1) continue;
      Object.assign(object, texts(metadata, { 1: 'name', 3: 'namespace', 5: 'uid' }));
      for (const [field, label] of fields(metadata)) {
        if (field !== 11) continue;
        const { name = '', value = '' } = texts(label, { 1: 'name', 2: 'value' });
        object.labels[name] = value;
      }
    }
  }
  return object;
}

function texts(message, known) {
  const found = {};
  for (const [number, content] of fields(message)) {
    if (known[number]) found[known[number]] = text(bytesOf(content));
  }
  return found;
}

function bytesOf(content) {
  if (content === undefined) throw new Error('broken protobuf');
  return content;
}

// The fields of a message, walked to its end: number and content, which only fields with a length have.
function* fields(message) {
  const broken = () => new Error('broken protobuf');
  if (message === undefined) throw broken();
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let index = 0; index < 10; index += 1) {
      if (at >= message.length) throw broken();
      const byte = message[at];
      at += 1;
      // Exact up to 2^53, and beyond it too large for anything here either way.
      value += (byte & 0x7f) * 2 ** (7 * index);
      if (byte < 0x80) return value;
    }
    throw broken();
  };
  while (at < message.length) {
    const tag = varint();
    const [number, wire] = [Math.floor(tag / 8), tag % 8];
    let length;
    if (number === 0) throw broken();
    if (wire === 0) varint();
    else if (wire === 1) length = 8;
    else if (wire === 5) length = 4;
    else if (wire === 2) length = varint();
    else throw broken();
    if (length === undefined) {
      yield [number, undefined];
      continue;
    }
    if (length > message.length - at) throw broken();
    yield [number, wire === 2 ? message.subarray(at, at + length) : undefined];
    at += length;
  }
}
