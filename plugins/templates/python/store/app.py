"""The component: describes itself, and hands the agent's calls to the store."""

import json
from contextlib import contextmanager
from types import SimpleNamespace

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import objects as contract
from wit_world.exports.plugin import Description
from wit_world.imports import log

import store
from client import send
from grants import secret, state
from holdfast import PluginError
from stream import download, upload


@contextmanager
def _told():
    """What is raised as a PluginError is the answer to the agent; any other exception is a bug, and ends the plugin."""
    try:
        yield
    except PluginError as error:
        raise Err(contract.Error(error.code, str(error), error.attributes))


@contextmanager
def _transferred():
    """A body that breaks off, or a sink that nobody reads from."""
    try:
        yield
    except Err as error:
        raise PluginError(error.value.code, error.value.message) from None


class _Body:
    def __init__(self, lent):
        self._lent = lent

    @property
    def size_bytes(self):
        return self._lent.size_bytes()

    def read(self, max_bytes):
        with _transferred():
            return self._lent.read(max_bytes)


class _Sink:
    def __init__(self, lent):
        self._lent = lent

    def begin(self, size_bytes, tag):
        with _transferred():
            self._lent.begin(size_bytes, tag)

    def write(self, content):
        with _transferred():
            self._lent.write(content)


HOST = SimpleNamespace(send=send, upload=upload, download=download, secret=secret, state=state, log=log.write)


def _opened(config, context):
    return store.Store(json.loads(config), HOST, dict(context))


def _object(found):
    locked = [("locked-until", found.locked_until)] if found.locked_until else []
    return contract.Object(found.path, found.size_bytes, found.modified, found.tag, locked)


class Plugin(exports.Plugin):
    def describe(self) -> Description:
        return Description(
            name=store.NAME,
            version=store.VERSION,
            summary=store.SUMMARY,
            config_schema=json.dumps(store.SCHEMA),
            wants=store.WANTS,
            attributes=[],
        )


class Objects(exports.Objects):
    def features(self, config):
        with _told():
            return store.features(json.loads(config))

    def probe(self, config, context):
        with _told():
            _opened(config, context).probe()

    def put(self, config, context, path, body):
        with _told():
            return _opened(config, context).put(path, _Body(body))

    def get(self, config, context, path, start, end, into):
        with _told():
            _opened(config, context).get(path, start, end, _Sink(into))

    def head(self, config, context, path):
        with _told():
            found = _opened(config, context).head(path)
            return found and _object(found)

    def list(self, config, context, prefix, after, limit):
        with _told():
            page = _opened(config, context).list(prefix, after, limit)
            return contract.Page([_object(found) for found in page.objects], page.next)

    def delete(self, config, context, path):
        with _told():
            _opened(config, context).delete(path)

    def sweep(self, config, context, age_seconds):
        with _told():
            return _opened(config, context).sweep(age_seconds)
