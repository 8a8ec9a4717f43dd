"""Tags, the expressions about them, and tiers: pure rules."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbatchai.dataplane.errors import StorageError
from openbatchai.dataplane.records import Identity, Record
from openbatchai.dataplane.tags import check_tags, parse_condition, parse_search
from openbatchai.dataplane.tiers import REHYDRATION_NS, rehydrated, with_tier

TAGS = {"a": "1", "b": "x y"}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("a='1'", True),
        ("\"a\"='1' AND \"b\"='x y'", True),
        ("a='1' AND b='no'", False),
        ("a='2' OR b>'x'", True),
        ("a='2' OR b='no' AND a='1'", False),
        ("(a='2' OR b='x y') AND a='1'", True),
        ("a<>'1'", False),
        ("absent<>'1'", False),
        ("a>='1' and a<='1'", True),
        ("a<'1'", False),
    ],
)
def test_conditions(text, holds):
    assert parse_condition(text).matches(TAGS) is holds


@given(st.text("ab'\"=<>() ANDOR@container", max_size=40))
def test_whatever_is_no_expression_is_a_client_error(text):
    for parse in (parse_condition, parse_search):
        with suppress(StorageError):
            assert parse(text).matches({}) in (False, True)


def test_deep_nesting_is_refused_not_a_crash():
    with pytest.raises(StorageError):
        parse_condition("(" * 5000 + "a='1'" + ")" * 5000)


def test_a_condition_that_would_fill_the_memory_is_refused():
    condition = " AND ".join(["a='1'"] * 1000)
    for parse in (parse_condition, parse_search):
        with pytest.raises(StorageError, match=r"too long|HTTP headers"):
            parse(condition)


def test_a_tag_twice():
    with pytest.raises(StorageError) as refused:
        check_tags([("a", "1"), ("a", "2")])
    assert refused.value.code.code == "DuplicateTagNames"


def test_rehydration_ends():
    record = Record(Identity(1, 2, 3), tier="Archive")
    pending = with_tier(record, "Hot", "", 1000)
    assert (pending.tier, pending.rehydrating_to, pending.rehydrate_priority) == (
        "Archive",
        "Hot",
        "Standard",
    )
    assert rehydrated(pending, 1000 + REHYDRATION_NS - 1) is pending
    done = rehydrated(pending, 1000 + REHYDRATION_NS)
    assert (done.tier, done.rehydrating_to, done.tier_changed_ns) == ("Hot", "", 1000 + REHYDRATION_NS)
    raised = with_tier(pending, "Cool", "High", 2000)
    assert (raised.rehydrating_to, raised.rehydrate_priority, raised.tier_changed_ns) == (
        "Cool",
        "High",
        1000,
    )
