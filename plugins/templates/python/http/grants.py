"""What the agent grants besides HTTP: secrets by name, and small stores of keys and values."""

from types import SimpleNamespace
from typing import Any, Callable

from componentize_py_types import Err
from wit_world.imports import secrets
from wit_world.imports import state as stores

from holdfast import PluginError


def _granted(call: Callable[..., Any]) -> Callable[..., Any]:
    """What is not granted is a PluginError `denied`."""

    def asked(*given: Any) -> Any:
        try:
            return call(*given)
        except Err as error:
            raise PluginError(error.value.code, error.value.message) from None

    return asked


secret = _granted(secrets.get)
state = SimpleNamespace(get=_granted(stores.get), set=_granted(stores.set), delete=_granted(stores.delete), keys=_granted(stores.keys))
