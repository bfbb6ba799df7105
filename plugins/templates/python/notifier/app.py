"""The component: describes itself, and hands events to the notifier."""

import json
from types import SimpleNamespace

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import notify as contract
from wit_world.exports.plugin import Description
from wit_world.imports import log

import notify
from client import send
from grants import secret, state
from holdfast import PluginError

HOST = SimpleNamespace(send=send, secret=secret, state=state, log=log.write)


class Plugin(exports.Plugin):
    def describe(self) -> Description:
        return Description(
            name=notify.NAME,
            version=notify.VERSION,
            summary=notify.SUMMARY,
            config_schema=json.dumps(notify.SCHEMA),
            wants=notify.WANTS,
            attributes=[],
        )


class Notify(exports.Notify):
    def notify(self, event: contract.Event, config: str) -> contract.Receipt:
        told = SimpleNamespace(**(vars(event) | {"attributes": dict(event.attributes)}))
        try:
            return contract.Receipt(notify.notify(told, json.loads(config), HOST), [])
        except PluginError as error:
            # Told to the operator; any other exception is a bug, and ends the plugin.
            raise Err(contract.Error(error.code, str(error), error.attributes))
