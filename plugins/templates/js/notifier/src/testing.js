// What tests put in place of the agent.

/** An event as the agent makes it; `parts` replace some of it. */
export function sampleEvent(parts = {}) {
  const event = {
    id: 'd41d8cd98f00b204',
    time: '2026-11-21T03:00:00Z',
    kind: 'backup.failed',
    severity: 'error',
    summary: 'the backup of cluster `prod-eu` failed: no member could be reached',
    cluster: 'prod-eu',
    attributes: { session: '5f0c1d2e3a4b5c6d', problem: 'backup', status: 'firing', attempt: '1' },
    ...parts,
  };
  const { id, time, kind: type, attributes, ...data } = event;
  return { cloudevent: JSON.stringify({ specversion: '1.0', id, time, type, source: 'holdfast', data }), ...event };
}
