"""The wire layer held against the published contracts: their examples, and bodies drawn from their schemas.

What a client sends comes back equal, but for secrets and for defaults that are filled in; and what was shown,
sent again, is shown the same: a version's body goes through the canonical model and comes out whole.
"""

import json
from copy import deepcopy
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbatchai.wire.batchai.versions import VERSIONS

from .test_versions import SHARED, needs_shared, render_cluster, render_file_server, render_job

KINDS = {
    "cluster": ("ClusterCreateParameters", render_cluster),
    "job": ("JobCreateParameters", render_job),
    "fileServer": ("FileServerCreateParameters", render_file_server),
}
SECRET = {"accountKey", "adminUserPassword", "password", "instrumentationKey"}
TOOLKITS = (
    "cntkSettings", "pyTorchSettings", "tensorFlowSettings", "caffeSettings", "caffe2Settings",
    "chainerSettings", "customToolkitSettings", "customMpiSettings", "horovodSettings",
)  # fmt: skip
CLUSTER_ID = "/subscriptions/S/resourceGroups/RG/providers/Microsoft.BatchAI/clusters/c"
NAMES = st.text("abcXYZ_09", min_size=1, max_size=8).map(lambda text: f"n{text}")
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12).filter(
    lambda text: text.strip()
)
# Properties whose text has a form of its own.
FORMS = {
    "vmSize": st.sampled_from(["STANDARD_NC6", "STANDARD_D1"]),
    "azureFileUrl": NAMES.map(lambda name: f"https://acct.file.core.windows.net/{name.lower()}"),
    "secretUrl": NAMES.map(lambda name: f"https://vault1.vault.azure.net/secrets/{name.replace('_', '-')}"),
    "maxWallClockTime": st.sampled_from(["PT1H", "P7D", "P1DT2H30M"]),
    "relativeMountPath": NAMES,
    "name": NAMES,
    "id": NAMES,
    "location": st.just("eastus"),
    "languageType": st.sampled_from(["Python", "BrainScript"]),
}


def definitions(version):
    return json.loads((SHARED / version / "BatchAI.json").read_text())["definitions"]


def drawn(draw, schema, known, name=""):
    """A value of a swagger schema; read-only properties are the service's and left out."""
    if "$ref" in schema:
        return drawn(draw, known[schema["$ref"].rpartition("/")[2]], known, name)
    if name in FORMS and schema.get("type") == "string":
        return draw(FORMS[name])
    match schema.get("type"):
        case "string" if "enum" in schema:
            return draw(st.sampled_from([word for word in schema["enum"] if word != "unknown"]))
        case "string":
            return draw(TEXTS)
        case "integer":
            return draw(st.integers(1, 50))
        case "boolean":
            return draw(st.booleans())
        case "array":
            return [drawn(draw, schema["items"], known, name) for _ in range(draw(st.integers(0, 2)))]
    if "additionalProperties" in schema:
        return {}
    required = schema.get("required", ())
    return {
        key: drawn(draw, inner, known, key)
        for key, inner in schema.get("properties", {}).items()
        if not resolved(inner, known).get("readOnly") and (key in required or draw(st.booleans()))
    }


def resolved(schema, known):
    return {**known.get(schema.get("$ref", "").rpartition("/")[2], {}), **schema}


@st.composite
def bodies(draw, version, kind):
    known = definitions(version)
    body = drawn(draw, known[KINDS[kind][0]], known)
    properties = body["properties"] = drawn(draw, known[KINDS[kind][0]]["properties"]["properties"], known)
    mend(draw, properties)
    if kind == "job":
        known_toolkits = [name for name in TOOLKITS if name in resolved_properties(known, kind)]
        chosen = draw(st.sampled_from(known_toolkits))
        for name in known_toolkits:
            properties.pop(name, None)
        properties[chosen] = drawn(draw, resolved_properties(known, kind)[chosen], known)
        mend_toolkit(properties[chosen], chosen)
        properties["cluster"] = {"id": CLUSTER_ID}
    return body


def resolved_properties(known, kind):
    outer = known[KINDS[kind][0]]["properties"]["properties"]
    return resolved(outer, known)["properties"]


def mend(draw, value):
    """Rules that the service has and its schema does not say: one of two, no two of the same name."""
    if isinstance(value, list):
        for item in value:
            mend(draw, item)
        return
    if not isinstance(value, dict):
        return
    for pair in (("manual", "autoScale"), ("value", "valueSecretReference")):
        if all(name in value for name in pair):
            del value[draw(st.sampled_from(pair))]
    for name in ("accountKey", "password", "instrumentationKey"):
        if f"{name}SecretReference" in value:
            value.pop(name, None)
    if "scaleSettings" in value and not value["scaleSettings"]:
        del value["scaleSettings"]
    if "minimumNodeCount" in value:
        low, high = sorted((value["minimumNodeCount"], value["maximumNodeCount"]))
        value["minimumNodeCount"], value["maximumNodeCount"] = low, high
    if "credentials" in value:
        secret = "accountKey" if "accountName" in value else "password"
        if not {secret, f"{secret}SecretReference"} & set(value["credentials"]):
            value["credentials"][secret] = "c2VjcmV0"
    if "appInsightsReference" in value:
        value["appInsightsReference"].setdefault("instrumentationKeySecretReference", None)
        if value["appInsightsReference"]["instrumentationKeySecretReference"] is None:
            del value["appInsightsReference"]["instrumentationKeySecretReference"]
            value["appInsightsReference"].setdefault("instrumentationKey", "key")
    for secret in value.get("secrets") or ():
        if not {"value", "valueSecretReference"} & set(secret):
            secret["value"] = "hidden"
    for position, items in enumerate(("inputDirectories", "outputDirectories")):
        for number, item in enumerate(value.get(items) or ()):
            item["id"] = f"d{position}{number}"
    if "mountVolumes" in value:
        count = 0
        for items in value["mountVolumes"].values():
            for item in items:
                item["relativeMountPath"], count = f"m{count}", count + 1
                if "fileServer" in item:
                    item["fileServer"] = {"id": CLUSTER_ID.replace("clusters", "fileservers")}
    for item in value.values():
        mend(draw, item)


def mend_toolkit(toolkit, name):
    if name == "cntkSettings":
        toolkit.setdefault("languageType", "Python")
        toolkit.setdefault("pythonScriptFilePath", "train.py")
        toolkit.setdefault("configFilePath", "net.cntk")
    if name == "caffeSettings":
        toolkit.pop("configFilePath", None)
        toolkit.setdefault("pythonScriptFilePath", "train.py")


def missing(sent, shown, path=""):
    """Where `shown` lacks or changes what was sent; secrets are to be lacking, enums may differ in case."""
    if isinstance(sent, dict) and isinstance(shown, dict):
        for name, value in sent.items():
            where = f"{path}.{name}"
            is_secret = name in SECRET or (name == "value" and ".secrets." in path)
            if is_secret:
                if name in shown:
                    yield f"{where}: a secret is shown"
            elif name not in shown:
                if value not in ([], {}, None, ""):
                    yield f"{where}: not shown"
            else:
                yield from missing(value, shown[name], where)
    elif isinstance(sent, list) and isinstance(shown, list):
        if len(sent) != len(shown):
            yield f"{path}: {len(shown)} of {len(sent)}"
        for number, pair in enumerate(zip(sent, shown, strict=False)):
            yield from missing(*pair, f"{path}.{number}")
    elif isinstance(sent, str) and isinstance(shown, str):
        if sent.lower() != shown.lower():
            yield f"{path}: {shown!r} for {sent!r}"
    elif sent != shown:
        yield f"{path}: {shown!r} for {sent!r}"


def requested(version, kind, body):
    read = {
        "cluster": version.cluster_request,
        "job": version.job_request,
        "fileServer": version.file_server_request,
    }
    return read[kind](deepcopy(body))


def shown(version, kind, body):
    return json.loads(json.dumps(KINDS[kind][1](version, requested(version, kind, body))))


def with_secrets(properties):
    """What was shown, with a value again where only one can be sent."""
    text = json.loads(json.dumps(properties))

    def fill(value):
        if isinstance(value, list):
            for item in value:
                fill(item)
        elif isinstance(value, dict):
            if "credentials" in value:
                secret = "accountKey" if "accountName" in value else "password"
                if f"{secret}SecretReference" not in value["credentials"]:
                    value["credentials"][secret] = "c2VjcmV0"
            if "appInsightsReference" in value:
                reference = value["appInsightsReference"]
                if "instrumentationKeySecretReference" not in reference:
                    reference["instrumentationKey"] = "key"
            for secret in value.get("secrets") or ():
                if "valueSecretReference" not in secret:
                    secret["value"] = "hidden"
            for item in value.values():
                fill(item)

    fill(text)
    return text


CASES = [(name, kind) for name in VERSIONS for kind in KINDS]


@needs_shared
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_what_is_sent_is_shown_and_shown_again_when_sent_again(name, kind):
    version = VERSIONS[name]

    @settings(max_examples=60, deadline=None)
    @given(bodies(name, kind))
    def whole(body):
        first = shown(version, kind, body)
        assert list(missing(body["properties"], first["properties"])) == []
        again = shown(version, kind, {**body, "properties": with_secrets(first["properties"])})
        assert again == first

    whole()


def examples():
    words = {"PutCluster": "cluster", "PutJob": "job", "PutFileServer": "fileServer"}
    return [
        pytest.param(version, words[path.stem], path, id=f"{version}-{path.stem}")
        for version in VERSIONS
        for path in sorted((SHARED / version / "examples").glob("Put*.json"))
        if path.stem in words
    ]


@needs_shared
@pytest.mark.parametrize(("name", "kind", "path"), examples())
def test_published_examples_are_accepted_and_shown(name, kind, path: Path):
    example = json.loads(path.read_text())["parameters"]
    body = example.get("parameters") or example["jobCreateParameters"]
    assert list(missing(body["properties"], shown(VERSIONS[name], kind, body)["properties"])) == []
