"""What tests put in place of the agent."""

import json
from types import SimpleNamespace

from answer import Answer, Request


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


class Host:
    """Answers every request alike, and keeps what was sent."""

    def __init__(self, answer: Answer, secrets: dict[str, str] | None = None):
        self.sent: list[Request] = []
        self._answer, self._secrets = answer, secrets or {}

    def send(self, request: Request) -> Answer:
        self.sent.append(request)
        return self._answer

    def secret(self, name: str) -> str:
        return self._secrets[name]

    def log(self, level: str, line: str) -> None:
        pass
