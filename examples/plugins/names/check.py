"""Checks that names follow the rules of the house."""

import re

from holdfast import PluginError, parse_object_key
from report import Report
from snapshot import Query, Snapshot

NAME = "names"
VERSION = "0.1.0"
SUMMARY = "Checks that names follow the rules of the house"
WANTS: list[str] = []
REMEMBERS = False
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["rules"],
    "properties": {
        "rules": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["resource", "pattern"],
                "properties": {
                    "resource": {"type": "string", "description": "What is looked at, as the API calls it."},
                    "pattern": {"type": "string", "description": "What a name must match, as a whole."},
                    "namespaces": {"type": "array", "items": {"type": "string"}, "description": "Only in these."},
                    "says": {"type": "string", "description": "What the pattern means."},
                },
            },
        }
    },
}

# What the API server stores under another name than the API calls it.
STORED_AS = {
    "endpoints": "services/endpoints",
    "ingresses": "ingress",
    "nodes": "minions",
    "replicationcontrollers": "controllers",
    "services": "services/specs",
}


def verify(snapshot: Snapshot, config: dict, context: dict[str, str], host) -> Report:
    report = Report()
    looked_at = 0
    for index, rule in enumerate(config["rules"]):
        try:
            pattern = re.compile(rule["pattern"])
        except re.error as error:
            raise PluginError("config", f"`rules[{index}].pattern` is no regular expression: {error}")
        namespaces = rule.get("namespaces")
        prefix = f"/registry/{STORED_AS.get(rule['resource'], rule['resource'])}/".encode()
        there = 0
        for row in snapshot.rows(Query(prefix=prefix, columns="keys")):
            found = parse_object_key(row.key)
            if found is None or (namespaces is not None and found.namespace not in namespaces):
                continue
            there += 1
            if not pattern.fullmatch(found.name):
                meaning = rule.get("says", f"`{rule['pattern']}`")
                report.error("bad-name", f"`{found.name}` of {found.resource} is not {meaning}", row.key)
        if there == 0:
            report.undecided("nothing-there", f"there are no `{rule['resource']}` that `rules[{index}]` would be about")
        report.measure("names", there, "names", resource=rule["resource"])
        looked_at += there
    report.summary = f"{report.count('bad-name')} of {looked_at} names do not follow the rules"
    return report
