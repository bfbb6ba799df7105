"""The component: describes itself, and hands a snapshot to the check."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.plugin import Description
from wit_world.exports.verify import Error, Finding, Measurement, Outcome, Report
from wit_world.imports.reader import Query

from check import check

# JSON Schema of the config: the agent checks a config with it before `verify` sees it.
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["prefix"],
    "properties": {
        "prefix": {"type": "string", "description": "How the keys begin that are counted."},
        "at_least": {"type": "integer", "default": 1, "description": "How many of them there must be."},
    },
}


class Plugin(exports.Plugin):
    def describe(self) -> Description:
        return Description(
            name="{{name}}",
            version="0.1.0",
            summary="{{summary}}",
            config_schema=json.dumps(SCHEMA),
            wants=[],
            attributes=[],
        )


class Verify(exports.Verify):
    def verify(self, subject, context, config: str) -> Report:
        def count(prefix: bytes) -> int:
            # The agent counts; no row crosses over. To look at rows: `subject.open(query).next(256, 262144)`.
            query = Query()
            query.prefix(prefix)
            return subject.totals(query).keys

        try:
            passed, summary, found = check(count, json.loads(config))
        except ValueError as error:
            # The error of the step; any other exception is a trap.
            raise Err(Error(code="config", message=str(error)))
        findings = [] if passed else [Finding("error", "too-few", summary, None, [])]
        return Report(
            outcome=Outcome.PASSED if passed else Outcome.FAILED,
            summary=summary,
            findings=findings,
            measurements=[Measurement("keys", float(found), "keys", [])],
            attributes=[],
        )
