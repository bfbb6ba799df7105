"""The verifier: {{summary}}. It knows nothing of WebAssembly, so that it is tested with `python -m unittest`."""

from report import Report
from snapshot import Query, Snapshot

NAME = "{{name}}"
VERSION = "0.1.0"
SUMMARY = "{{summary}}"
# Lines of an `allow` table that it would like.
WANTS: list[str] = []
# Is it given back what it put into `report.memo` for the backup before?
REMEMBERS = False
# JSON Schema of the config: the agent checks a config with it before `verify` sees it.
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["prefix"],
    "properties": {
        "prefix": {"type": "string", "description": "How the keys begin that are counted."},
        "at_least": {"type": "integer", "minimum": 0, "default": 1, "description": "How many of them there must be."},
    },
}


def verify(snapshot: Snapshot, config: dict, context: dict[str, str], host) -> Report:
    """Looks, and reports. Raise a `PluginError` when it could not do its work. `host` is what the agent grants: send(request), secret(name),
    state, log(level, line)."""
    prefix, at_least = config["prefix"], config.get("at_least", 1)
    # The agent counts; no row crosses over. To look at rows: `for row in snapshot.rows(Query(prefix=…))`.
    found = snapshot.totals(Query(prefix=prefix.encode())).keys
    report = Report()
    report.summary = f"{found} keys begin with `{prefix}`"
    if found < at_least:
        report.error("too-few", f"{report.summary}, fewer than {at_least}")
    report.measure("keys", found, "keys")
    return report
