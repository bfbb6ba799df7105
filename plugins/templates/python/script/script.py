"""The script: {{summary}}. It knows nothing of WebAssembly, so that it is tested with `python -m unittest`."""

from database import Database, Query
from report import Report

NAME = "{{name}}"
VERSION = "0.1.0"
SUMMARY = "{{summary}}"
# Lines of an `allow` table that it would like.
WANTS: list[str] = []
# JSON Schema of the config: the agent checks a config with it before `run` sees it.
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["prefix"],
    "properties": {
        "prefix": {"type": "string", "description": "How the keys begin that are counted."},
        "at_least": {"type": "integer", "minimum": 0, "default": 1, "description": "How many of them there must be."},
    },
}


def run(database: Database, config: dict, context: dict[str, str], host) -> Report:
    """Looks, writes, and reports: the database is thrown away afterwards. Raise a `PluginError` when it could not do its work. `host` is what
    the agent grants: send(request), secret(name), state, log(level, line)."""
    prefix, at_least = config["prefix"], config.get("at_least", 1)
    report = Report()
    keys = database.count(Query(prefix=prefix.encode()))
    report.summary = f"{keys} keys begin with `{prefix}`"
    if keys < at_least:
        report.error("too-few", f"{report.summary}, fewer than {at_least}")
    key = b"/{{name}}/trial"
    database.put(key, b"written")
    row = database.get(key)
    if row is None or row.value != b"written":
        report.error("not-written", "a key is not read as it was written", key)
    else:
        report.summary += ", and more can be written"
    report.measure("keys", keys, "keys")
    return report
