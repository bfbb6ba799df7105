"""The component: describes itself, and hands the restored etcd to the script."""

import json
from types import SimpleNamespace

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import run as contract
from wit_world.exports.plugin import Description
from wit_world.imports import log
from wit_world.imports.database import Query

import script
from client import send
from database import Database
from grants import secret, state
from holdfast import PluginError

HOST = SimpleNamespace(send=send, secret=secret, state=state, log=log.write)


class Plugin(exports.Plugin):
    def describe(self) -> Description:
        return Description(
            name=script.NAME,
            version=script.VERSION,
            summary=script.SUMMARY,
            config_schema=json.dumps(script.SCHEMA),
            wants=script.WANTS,
            attributes=[],
        )


class Run(exports.Run):
    def run(self, database, context, config: str) -> contract.Report:
        try:
            report = script.run(Database(database, Query), json.loads(config), dict(context), HOST)
        except PluginError as error:
            # The error of the step; any other exception is a bug, and ends the plugin.
            raise Err(contract.Error(error.code, str(error)))
        except Err as error:
            refused = error.value
            raise Err(contract.Error("database", f"the database cannot be asked ({refused.code}): {refused.message}"))
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
            attributes=[],
        )
