"""The component: describes itself, and hands a snapshot to the check."""

import json
from types import SimpleNamespace

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import verify as contract
from wit_world.exports.plugin import Description
from wit_world.imports import log
from wit_world.imports.reader import Query

import check
from client import send
from grants import secret, state
from holdfast import PluginError
from snapshot import Snapshot

HOST = SimpleNamespace(send=send, secret=secret, state=state, log=log.write)


class Plugin(exports.Plugin):
    def describe(self) -> Description:
        return Description(
            name=check.NAME,
            version=check.VERSION,
            summary=check.SUMMARY,
            config_schema=json.dumps(check.SCHEMA),
            wants=check.WANTS,
            attributes=[("memo", "yes")] if check.REMEMBERS else [],
        )


class Verify(exports.Verify):
    def verify(self, subject, context, config: str) -> contract.Report:
        try:
            report = check.verify(Snapshot(subject, Query), json.loads(config), dict(context), HOST)
        except PluginError as error:
            # The error of the step; any other exception is a bug, and ends the plugin.
            raise Err(contract.Error(error.code, str(error)))
        except Err as error:
            read = error.value
            raise Err(contract.Error("snapshot", f"the snapshot cannot be read ({read.code}): {read.message}"))
        return contract.Report(
            outcome=contract.Outcome[report.outcome.upper()],
            summary=report.summary,
            findings=[
                contract.Finding(found.severity, found.code, found.message, found.key, found.attributes)
                for found in report.findings
            ],
            measurements=[
                contract.Measurement(number.name, number.value, number.unit, number.attributes)
                for number in report.measurements
            ],
            attributes=[("memo", report.memo)] if report.memo else [],
        )
