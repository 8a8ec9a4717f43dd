"""`$filter` of ARM's own lists."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbatchai.domain.errors import ServiceError
from openbatchai.wire.filters import parse, parse_of_properties, selected, selection

ITEM = {
    "name": "Work",
    "type_": "Microsoft.BatchAI/workspaces",
    "group": "Lab",
    "location": "East US",
    "tags": {"Team": "Blue", "stage": "test"},
}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name eq 'work'",
        "NAME EQ 'WORK'",
        "resourceType eq 'microsoft.batchai/WORKSPACES'",
        "resourceGroup eq 'lab' and location eq 'eastus'",
        "location eq 'East US'",
        "tagName eq 'team'",
        "tagname eq 'TEAM' and tagvalue eq 'Blue'",
        "substringof('or', name)",
        "startswith(tagname, 'st')",
        "name eq 'other' or name eq 'work'",
        "name eq 'a' or name eq 'b' and name eq 'c' or name eq 'work'",
        "(name eq 'other' or name eq 'work') and resourceGroup ne 'else'",
    ],
)
def test_keeps(text):
    assert parse(text).keeps(**ITEM)


@pytest.mark.parametrize(
    "text",
    [
        "name eq 'other'",
        "name ne 'work'",
        "tagName eq 'absent'",
        # Name and value must be of one tag.
        "tagName eq 'team' and tagValue eq 'test'",
        "tagName eq 'team' and tagValue eq 'blue'",
        "substringof('x', name)",
        "startswith(name, 'ork')",
        "name eq 'it''s'",
    ],
)
def test_leaves_out(text):
    assert not parse(text).keeps(**ITEM)


def test_quotes_are_doubled():
    assert parse("name eq 'it''s'").keeps(**{**ITEM, "name": "it's"})


def test_what_has_no_tag_has_none_of_any_name():
    assert not parse("tagName eq 'team'").keeps(**{**ITEM, "tags": {}})
    assert parse("name eq 'work'").keeps(**{**ITEM, "tags": {}})


@pytest.mark.parametrize(
    "text",
    [
        *(
            "name",
            "name eq",
            "name eq work",
            "name like 'a'",
            "color eq 'red'",
            "name eq 'a",
            "eq 'a'",
            "'a'",
        ),
        *(
            "name eq 'a' and",
            "name eq 'a' name eq 'b'",
            "(name eq 'a'",
            "name eq 'a')",
            "tagName ne 'a'",
            "#",
        ),
        *("substringof('a')", "startswith(name)", "not name eq 'a'", "(" * 5000, "\0", "name eq 1"),
    ],
)
def test_refusals(text):
    with pytest.raises(ServiceError) as refused:
        parse(text)
    assert (refused.value.status, refused.value.code) == (400, "InvalidFilterInQueryString")


CLUSTER = {
    "id": "/x/c",
    "name": "c",
    "type": "Microsoft.BatchAI/Clusters",
    "location": "eastus",
    "tags": {"Team": "blue"},
    "properties": {
        "vmSize": "STANDARD_D1",
        "currentNodeCount": 1,
        "scaleSettings": {"manual": {"targetNodeCount": 2}},
        "errors": [],
        "flag": True,
    },
}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("name eq 'C'", True),
        ("vmSize eq 'standard_d1' and properties/currentNodeCount eq 1", True),
        ("properties.scaleSettings.manual.targetNodeCount ne 2", False),
        ("scaleSettings/manual/targetNodeCount eq 2 and flag eq true", True),
        ("tags/team eq 'blue'", True),
        ("startswith(vmSize, 'standard') and substringof('d1', vmSize)", True),
        ("absent eq 'x'", False),
        ("absent ne 'x'", True),
        ("errors eq '[]'", False),
    ],
)
def test_filters_on_properties(text, kept):
    assert parse_of_properties(text)(CLUSTER) is kept


@pytest.mark.parametrize(
    "text", ["vmSize gt 1", "vmSize eq", "vmSize eq (", "vmSize", "/a eq 1", "a//b eq 1"]
)
def test_refused_filters_on_properties(text):
    with pytest.raises(ServiceError, match="Invalid \\$filter"):
        parse_of_properties(text)


def test_selections():
    identity = {name: CLUSTER[name] for name in ("id", "name", "type")}
    assert selected(CLUSTER, selection("")) == CLUSTER
    assert selected(CLUSTER, selection("name, vmsize")) == identity | {
        "properties": {"vmSize": "STANDARD_D1"}
    }
    assert selected(CLUSTER, selection("location")) == identity | {"location": "eastus"}
    assert selected(CLUSTER, selection("properties/vmSize"))["properties"] == {"vmSize": "STANDARD_D1"}
    assert selected(CLUSTER, selection("properties,vmSize")) == identity | {
        "properties": CLUSTER["properties"]
    }
    assert selected(CLUSTER, selection("nothing")) == identity


@given(
    st.lists(
        st.sampled_from(["name", "eq", "ne", "and", "or", "'a'", "(", ")", ",", "tagName", "substringof"])
    )
)
def test_any_words_are_a_filter_or_refused(words):
    with contextlib.suppress(ServiceError):
        assert parse(" ".join(words)).keeps(**ITEM) in (True, False)
