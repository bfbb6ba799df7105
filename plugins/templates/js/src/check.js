// The question itself, without anything of the agent, so that it is tested with `npm test`.

const bytes = (text) => {
  // ASCII is enough for the keys of Kubernetes; for others encode as UTF-8.
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
};

export function check(snapshot, newQuery, { prefix, at_least = 1 }) {
  const query = newQuery();
  query.prefix(bytes(prefix));
  // The agent counts; no row crosses over. To look at rows: `snapshot.open(query).next(256, 262144)`.
  const { keys } = snapshot.totals(query);
  let summary = `${keys} keys begin with \`${prefix}\``;
  const findings = [];
  if (keys < BigInt(at_least)) {
    summary += `, fewer than ${at_least}`;
    findings.push({ severity: 'error', code: 'too-few', message: summary, key: undefined, attributes: [] });
  }
  return {
    outcome: findings.length === 0 ? 'passed' : 'failed',
    summary,
    findings,
    measurements: [{ name: 'keys', value: Number(keys), unit: 'keys', attributes: [] }],
    attributes: [],
  };
}
