"""The StorageServiceProperties document of both services: checked against what it may hold, and written.

A document that sets properties is partial: an element that it lacks keeps what was set before. In memory
each top element is plain data, as JSON would hold it: dicts, lists of rules, and text.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any
from xml.etree.ElementTree import Element

from openbatchai.wire.storage_xml import DECLARATION, clean, parse

Properties = dict[str, Any]
# Reads one element; raises BadPropertyError.
_Reader = Callable[[Element], Any]

_MOST_RULES = 5
_MOST_PREFIXES = 2
_MOST_NAMES = 64
_MOST_TEXT = 256
_MOST_DAYS = 365
_METHODS = frozenset({"DELETE", "GET", "HEAD", "MERGE", "POST", "OPTIONS", "PUT", "PATCH"})
_VERSION = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_PROTOCOL_SETTINGS_SINCE = "2020-02-10"
_DELETE_RETENTION_SINCE = "2017-07-29"
_STATIC_WEBSITE_SINCE = "2018-03-28"


class BadPropertyError(ValueError):
    """An element that may not stand there, is missing, or holds what it may not. `kind` is the code."""

    def __init__(self, kind: str, name: str, value: str = "") -> None:
        super().__init__(name)
        self.kind = kind
        self.name = name
        self.value = value


def _text(node: Element) -> str:
    return (node.text or "").strip()


def _flag(node: Element) -> str:
    value = _text(node).lower()
    if value not in ("true", "false"):
        raise _bad(node)
    return value


def _number(lowest: int, highest: int) -> _Reader:
    def read(node: Element) -> str:
        text = _text(node)
        if not re.fullmatch(r"\d{1,10}", text, re.ASCII) or not lowest <= int(text) <= highest:
            raise _bad(node)
        return str(int(text))

    return read


def _one_of(*allowed: str) -> _Reader:
    def read(node: Element) -> str:
        if _text(node) not in allowed:
            raise _bad(node)
        return _text(node)

    return read


def _version(node: Element) -> str:
    if _VERSION.fullmatch(_text(node)) is None:
        raise _bad(node)
    return _text(node)


def _bad(node: Element) -> BadPropertyError:
    return BadPropertyError("InvalidXmlNodeValue", node.tag, _text(node))


def _record(fields: Mapping[str, _Reader], *required: str) -> _Reader:
    """An element of named children, each at most once; `required` ones must be there."""

    def read(node: Element) -> Properties:
        found: Properties = {}
        for child in node:
            if child.tag not in fields or child.tag in found:
                raise BadPropertyError("UnsupportedXmlNode", child.tag)
            found[child.tag] = fields[child.tag](child)
        for name in required:
            if name not in found:
                raise BadPropertyError("MissingRequiredXmlNode", name)
        return found

    return read


def _retention(extra: Mapping[str, _Reader]) -> _Reader:
    inner = _record({"Enabled": _flag, "Days": _number(1, _MOST_DAYS), **extra}, "Enabled")

    def read(node: Element) -> Properties:
        days = node.find("Days")
        if days is not None and _flag_of(node) == "false":
            # Days of what is off are given back by clients that read them as 0.
            node.remove(days)
        found: Properties = inner(node)
        if found["Enabled"] == "true" and "Days" not in found:
            raise BadPropertyError("MissingRequiredXmlNode", "Days")
        return found

    return read


def _flag_of(node: Element) -> str:
    return (node.findtext("Enabled") or "").strip().lower()


def _metrics(node: Element) -> Properties:
    found: Properties = _record(
        {
            "Version": _one_of("1.0"),
            "Enabled": _flag,
            "IncludeAPIs": _flag,
            "RetentionPolicy": _retention({}),
        },
        "Version",
        "Enabled",
        "RetentionPolicy",
    )(node)
    if found["Enabled"] == "true" and "IncludeAPIs" not in found:
        raise BadPropertyError("MissingRequiredXmlNode", "IncludeAPIs")
    return found


def _methods(node: Element) -> str:
    names = _names(node)
    if not names or not set(names) <= _METHODS:
        raise _bad(node)
    return ",".join(names)


def _origins(node: Element) -> str:
    names = _names(node)
    if not names or len(names) > _MOST_NAMES or any(len(name) > _MOST_TEXT for name in names):
        raise _bad(node)
    return ",".join(names)


def _headers(node: Element) -> str:
    names = _names(node)
    prefixes = [name for name in names if name.endswith("*") and name != "*"]
    literal = len(names) - len(prefixes)
    too_long = any(len(name) > _MOST_TEXT for name in names)
    if len(prefixes) > _MOST_PREFIXES or literal > _MOST_NAMES or too_long:
        raise _bad(node)
    return ",".join(names)


def _names(node: Element) -> list[str]:
    names = [name.strip() for name in _text(node).split(",") if name.strip()]
    # They become headers of answers, where a line break would begin another one.
    if not all(name.isprintable() for name in names):
        raise _bad(node)
    return names


_RULE_FIELDS = {
    "AllowedOrigins": _origins,
    "AllowedMethods": _methods,
    "MaxAgeInSeconds": _number(0, 2**31 - 1),
    "ExposedHeaders": _headers,
    "AllowedHeaders": _headers,
}
_rule = _record(_RULE_FIELDS, *_RULE_FIELDS)


def _rules(node: Element) -> list[Properties]:
    for child in node:
        if child.tag != "CorsRule":
            raise BadPropertyError("UnsupportedXmlNode", child.tag)
    if len(node) > _MOST_RULES:
        raise BadPropertyError("InvalidXmlDocument", "Cors")
    return [_rule(child) for child in node]


_logging = _record(
    {
        "Version": _one_of("1.0", "2.0"),
        "Delete": _flag,
        "Read": _flag,
        "Write": _flag,
        "RetentionPolicy": _retention({}),
    },
    *("Version", "Delete", "Read", "Write", "RetentionPolicy"),
)
_website = _record(
    {
        "Enabled": _flag,
        "IndexDocument": _text,
        "DefaultIndexDocumentPath": _text,
        "ErrorDocument404Path": _text,
    },
    "Enabled",
)
_encryption = _record({"Required": _flag})
_protocols = _record(
    {
        "SMB": _record(
            {
                "Multichannel": _record({"Enabled": _flag}),
                "EncryptionInTransit": _encryption,
                **dict.fromkeys(
                    ("Versions", "AuthenticationMethods", "KerberosTicketEncryption", "ChannelEncryption"),
                    _text,
                ),
            }
        ),
        "NFS": _record({"EncryptionInTransit": _encryption}),
    }
)
_COMMON: dict[str, _Reader] = {"HourMetrics": _metrics, "MinuteMetrics": _metrics, "Cors": _rules}
_READERS: dict[str, dict[str, _Reader]] = {
    "blob": {
        "Logging": _logging,
        **_COMMON,
        "DefaultServiceVersion": _version,
        "DeleteRetentionPolicy": _retention({"AllowPermanentDelete": _flag}),
        "StaticWebsite": _website,
    },
    "file": {**_COMMON, "ProtocolSettings": _protocols},
}

# Parts of the services' properties that only ARM sets and shows: no element of the documents.
_AT_ARM: dict[str, dict[str, _Reader]] = {
    "blob": {"ContainerDeleteRetentionPolicy": _retention({})},
    "file": {"ShareDeleteRetentionPolicy": _retention({})},
}

_OFF = {"Enabled": "false"}
_NO_METRICS = {"Version": "1.0", "Enabled": "false", "RetentionPolicy": _OFF}
_DEFAULTS: dict[str, Properties] = {
    "blob": {
        "Logging": {
            "Version": "1.0",
            "Delete": "false",
            "Read": "false",
            "Write": "false",
            "RetentionPolicy": _OFF,
        },
        "HourMetrics": _NO_METRICS,
        "MinuteMetrics": _NO_METRICS,
        "Cors": [],
        "DeleteRetentionPolicy": _OFF,
        "StaticWebsite": _OFF,
    },
    "file": {
        "HourMetrics": _NO_METRICS,
        "MinuteMetrics": _NO_METRICS,
        "Cors": [],
        "ProtocolSettings": {"SMB": {"Multichannel": {"Enabled": "false"}}},
    },
}
_SINCE = {
    "DeleteRetentionPolicy": _DELETE_RETENTION_SINCE,
    "StaticWebsite": _STATIC_WEBSITE_SINCE,
    "ProtocolSettings": _PROTOCOL_SETTINGS_SINCE,
}


def parse_properties(body: bytes, service: str) -> Properties:
    """What a document of the service sets. Raises MalformedXmlError, BadPropertyError."""
    return properties_in(parse(body, "StorageServiceProperties"), service)


def properties_in(root: Element, service: str, *, at_arm: bool = False) -> Properties:
    """What a document sets, once parsed. Raises BadPropertyError."""
    readers = _READERS[service] | (_AT_ARM[service] if at_arm else {})
    found: Properties = _record(readers)(root)
    return found


def shown_properties(stored: Mapping[str, Any], service: str) -> Properties:
    """What was set, beside defaults. They count inside elements, too: clients need all that are there."""
    shown: Properties = _over({**_DEFAULTS[service], **dict.fromkeys(_AT_ARM[service], _OFF)}, stored)
    return shown


def _over(default: Any, value: Any) -> Any:
    if not isinstance(default, dict) or not isinstance(value, Mapping):
        return value
    return {**default, **{name: _over(default.get(name), item) for name, item in value.items()}}


def properties_document(stored: Mapping[str, Any], service: str, version: str) -> bytes:
    """The answer to Get Service Properties: what was set, beside defaults, as far as `version` knows it."""
    order = [*_READERS[service]]
    values = shown_properties(stored, service)
    body = "".join(
        _written(name, values[name]) for name in order if name in values and version >= _SINCE.get(name, "")
    )
    return f"{DECLARATION}<StorageServiceProperties>{body}</StorageServiceProperties>".encode()


def _written(name: str, value: Any) -> str:
    if isinstance(value, list):
        inner = "".join(_written("CorsRule", rule) for rule in value)
    elif isinstance(value, dict):
        inner = "".join(_written(child, text) for child, text in value.items())
    else:
        inner = clean(value)
    return f"<{name}>{inner}</{name}>" if inner else f"<{name} />"
