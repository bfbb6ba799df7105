"""What a plugin works with, in the agent and in tests alike: Kubernetes' keys and values, and errors. It knows nothing of WebAssembly."""

import json
from dataclasses import dataclass, field


class PluginError(Exception):
    """Raise it: the plugin could not do its work. Code: `config`, or one of your own."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code
        # Details for programs, where the contract takes some.
        self.attributes: list[tuple[str, str]] = []


# What the API calls it, by what it is stored under where that differs.
_STORED_UNDER_ANOTHER_NAME = {
    "services/endpoints": "endpoints",
    "ingress": "ingresses",
    "minions": "nodes",
    "podsecuritypolicy": "podsecuritypolicies",
    "controllers": "replicationcontrollers",
    "services/specs": "services",
}


@dataclass(frozen=True)
class ObjectKey:
    """Which object a key is for. What the key does not say is empty. Resources are called as the API calls them: `nodes`, though they lie
    under `minions`."""

    group: str
    resource: str
    namespace: str
    name: str


def parse_object_key(key: bytes, prefix: str = "/registry") -> ObjectKey | None:
    """PREFIX/RESOURCE[/NAMESPACE]/NAME, or PREFIX/GROUP/RESOURCE[/NAMESPACE]/NAME. None when the key is not built so."""
    try:
        path = key.decode()
    except UnicodeDecodeError:
        return None
    below = prefix.rstrip("/") + "/"
    if not path.startswith(below):
        return None
    parts = path.removeprefix(below).split("/")
    # A group always has a dot, and a built-in resource never has one.
    group = parts.pop(0) if len(parts) > 1 and "." in parts[0] else ""
    resource = parts.pop(0)
    if not group:
        # The one resource that is stored under two parts.
        if resource == "services" and len(parts) > 1 and parts[0] in ("specs", "endpoints"):
            resource += "/" + parts.pop(0)
        resource = _STORED_UNDER_ANOTHER_NAME.get(resource, resource)
    if not resource or not 1 <= len(parts) <= 2 or "" in parts:
        return None
    namespace, name = parts if len(parts) == 2 else ("", parts[0])
    return ObjectKey(group, resource, namespace, name)


@dataclass
class Object:
    """What every object of Kubernetes says of itself."""

    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Encrypted:
    """What the head of an encrypted value says: k8s:enc:PROVIDER:VERSION:KEY:."""

    provider: str
    version: str
    key_name: str


_ENCRYPTED = b"k8s:enc:"
_PROTOBUF = b"k8s\0"


def is_encrypted(value: bytes) -> bool:
    """Is a value encrypted at rest, going by its first bytes?"""
    return value.startswith(_ENCRYPTED)


def parse_object(value: bytes) -> Object | Encrypted | None:
    """What a stored value says of its object, from protobuf and JSON alike. None when it is none of the ways in which an API server stores
    objects. ValueError when it begins as one and is broken; no error says what is in a value, which may be a Secret."""
    if is_encrypted(value):
        parts = value.removeprefix(_ENCRYPTED).split(b":", 3)
        if len(parts) < 4 or not parts[0] or not parts[1] or not parts[3]:
            raise ValueError("broken head of an encrypted value")
        return Encrypted(*(part.decode(errors="replace") for part in parts[:3]))
    if value.startswith(_PROTOBUF):
        found = _parse_protobuf(value.removeprefix(_PROTOBUF))
    elif value.lstrip(b" \t\r\n").startswith(b"{"):
        found = _parse_json(value)
    else:
        return None
    if not found.kind or not found.api_version:
        raise ValueError("it does not say what it is")
    return found


def _parse_json(value: bytes) -> Object:
    try:
        stored = json.loads(value)
        metadata = stored.get("metadata") or {}
        text = {name: metadata.get(name) or "" for name in ("namespace", "name", "uid")}
        labels = dict(metadata.get("labels") or {})
    except (ValueError, AttributeError, TypeError, RecursionError):
        # Without its cause, which would quote the value.
        raise ValueError("broken JSON") from None
    return Object(stored.get("apiVersion") or "", stored.get("kind") or "", labels=labels, **text)


# Protobuf without schemas: only the envelope (1 type: 1 apiVersion, 2 kind; 2 the object) and the metadata (field 1 of the object: 1 name,
# 3 namespace, 5 uid, 11 labels) have fields that are known here. They are those of apimachinery's pkg/runtime/generated.proto and
# pkg/apis/meta/v1/generated.proto.
def _parse_protobuf(envelope: bytes) -> Object:
    found = Object()
    for number, content in _fields(envelope):
        if number == 1:
            for name, value in _texts(content, {1: "api_version", 2: "kind"}).items():
                setattr(found, name, value)
        elif number == 2:
            for inner, metadata in _fields(content):
                if inner == 1:
                    _parse_metadata(metadata, found)
    return found


def _parse_metadata(metadata: bytes | None, found: Object) -> None:
    for name, value in _texts(metadata, {1: "name", 3: "namespace", 5: "uid"}).items():
        setattr(found, name, value)
    for number, content in _fields(metadata):
        if number == 11:
            label = _texts(content, {1: "name", 2: "value"})
            found.labels[label.get("name", "")] = label.get("value", "")


def _texts(message: bytes | None, known: dict[int, str]) -> dict[str, str]:
    found = {}
    for number, content in _fields(message):
        if number in known:
            if content is None:
                raise ValueError("broken protobuf")
            found[known[number]] = content.decode(errors="replace")
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(10):
        if at >= len(message):
            break
        value |= (message[at] & 0x7F) << (7 * index)
        at += 1
        if message[at - 1] < 0x80:
            return value, at
    raise ValueError("broken protobuf")


def _fields(message: bytes | None):
    """The fields of a message, walked to its end: number and content, which only fields with a length have."""
    if message is None:
        raise ValueError("broken protobuf")
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            _, at = _varint(message, at)
            length = 0
        elif wire == 2:
            length, at = _varint(message, at)
        else:
            length = {1: 8, 5: 4}.get(wire, -1)
        if number == 0 or length < 0 or length > len(message) - at:
            raise ValueError("broken protobuf")
        yield number, message[at : at + length] if wire == 2 else None
        at += length
