"""What tests put in place of the agent."""

import json
from types import SimpleNamespace


def sample_event(**parts) -> SimpleNamespace:
    """An event as the agent makes it; `parts` replace some of it."""
    event = {
        "id": "d41d8cd98f00b204",
        "time": "2026-11-21T03:00:00Z",
        "kind": "backup.failed",
        "severity": "error",
        "summary": "the backup of cluster `prod-eu` failed: no member could be reached",
        "cluster": "prod-eu",
        "attributes": {"session": "5f0c1d2e3a4b5c6d", "problem": "backup", "status": "firing", "attempt": "1"},
    } | parts
    head = {"specversion": "1.0", "id": event["id"], "time": event["time"], "type": event["kind"], "source": "holdfast"}
    data = {name: event[name] for name in ("severity", "summary", "cluster")}
    return SimpleNamespace(**({"cloudevent": json.dumps(head | {"data": data})} | event))
