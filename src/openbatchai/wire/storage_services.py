"""The properties of a blob or file service in ARM's JSON: the data plane's document in other letters.

What a client sends is read by the rules of that document (service_properties.py), so both ways show, take and
refuse the same. What the document has no element for, and could only be off, is told here.
"""

from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import Element

from openbatchai.domain.storage_accounts import not_supported, refused

from .service_properties import BadPropertyError, properties_in, shown_properties

Json = dict[str, Any]

_ACRONYMS = {"smb": "SMB", "nfs": "NFS"}
_LISTS = ("allowedOrigins", "allowedMethods", "exposedHeaders", "allowedHeaders")
# By service: the fields that are elements of the document.
_SHARED = {
    "blob": (
        "cors",
        "defaultServiceVersion",
        "deleteRetentionPolicy",
        "containerDeleteRetentionPolicy",
        "staticWebsite",
    ),
    "file": ("cors", "shareDeleteRetentionPolicy", "protocolSettings"),
}
# Those that can only be off: the field, the switch inside it ("" when it is one itself), what it is called.
_OFF: dict[str, tuple[tuple[str, str, str], ...]] = {
    "blob": (
        ("isVersioningEnabled", "", "Versioning"),
        ("automaticSnapshotPolicyEnabled", "", "The automatic snapshot policy"),
        ("changeFeed", "enabled", "The change feed"),
        ("restorePolicy", "enabled", "Point-in-time restore"),
        ("lastAccessTimeTrackingPolicy", "enable", "Tracking of the last access"),
    ),
    "file": (),
}


def read(properties: Any, service: str) -> Json:
    """What a PUT sets, as the data plane keeps it. Raises 400 naming the field."""
    if properties is None:
        return {}
    if not isinstance(properties, dict):
        raise refused("properties")
    for field, switch, what in _OFF[service]:
        if _is_on(field, properties.get(field), switch):
            raise not_supported(what)
    root = Element("StorageServiceProperties")
    for field in _SHARED[service]:
        value = properties.get(field)
        if value is not None:
            root.append(_cors(value) if field == "cors" else _element(field, value, field))
    try:
        return properties_in(root, service, at_arm=True)
    except BadPropertyError as error:
        raise refused(_name_in_json(error.name)) from None


def shown(stored: Mapping[str, Any], service: str) -> Json:
    """`properties` of the answer: what was set, beside the defaults."""
    values = shown_properties(stored, service)
    told: Json = {}
    for field in _SHARED[service]:
        value = values.get(_name_in_xml(field))
        if field == "cors":
            told[field] = {"corsRules": [_rule(rule) for rule in value or ()]}
        elif value is not None:
            told[field] = _json(value)
    for field, switch, _ in _OFF[service]:
        told[field] = {switch: False} if switch else False
    return told


def _is_on(field: str, value: Any, switch: str) -> bool:
    if value is None:
        return False
    if switch:
        if not isinstance(value, dict):
            raise refused(field)
        value, field = value.get(switch, False), f"{field}.{switch}"
    if not isinstance(value, (bool, type(None))):
        raise refused(field)
    return bool(value)


def _cors(value: Any) -> Element:
    rules = value.get("corsRules") if isinstance(value, dict) else None
    if rules is not None and not isinstance(rules, list):
        raise refused("cors.corsRules")
    if not isinstance(value, dict):
        raise refused("cors")
    node = Element("Cors")
    for number, rule in enumerate(rules or ()):
        field = f"cors.corsRules[{number}]"
        child = _element("corsRule", rule, field)
        child.tag = "CorsRule"
        node.append(child)
    return node


def _element(name: str, value: Any, field: str) -> Element:
    node = Element(_name_in_xml(name))
    if isinstance(value, bool):
        node.text = str(value).lower()
    elif isinstance(value, (int, str)):
        node.text = str(value)
    elif isinstance(value, list) and name in _LISTS and all(isinstance(item, str) for item in value):
        node.text = ",".join(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            if item is not None:
                node.append(_element(key, item, f"{field}.{key}"))
    else:
        raise refused(field)
    return node


def _name_in_xml(name: str) -> str:
    return _ACRONYMS.get(name, name[:1].upper() + name[1:])


def _name_in_json(name: str) -> str:
    for field, element in _ACRONYMS.items():
        if element == name:
            return field
    return name[:1].lower() + name[1:]


def _rule(rule: Mapping[str, str]) -> Json:
    told = _json(rule)
    return {
        name: [part for part in rule[_name_in_xml(name)].split(",") if part] if name in _LISTS else value
        for name, value in told.items()
    }


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {_name_in_json(name): _typed(name, item) for name, item in value.items()}
    return value


def _typed(name: str, value: Any) -> Any:
    if name in ("Days", "MaxAgeInSeconds"):
        return int(value)
    if name in ("Enabled", "Required", "AllowPermanentDelete"):
        return value == "true"
    return _json(value)
