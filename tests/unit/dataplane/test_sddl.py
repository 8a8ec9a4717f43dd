"""Security descriptors from text to binary and back."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbatchai.dataplane.errors import StorageError
from openbatchai.dataplane.sddl import from_binary, to_binary
from openbatchai.dataplane.smb import DEFAULT_SDDL, check_permission

# A pair that the service itself gives (tests of azure-storage-file-share).
SDDL = (
    "O:S-1-5-21-2127521184-1604012920-1887927527-21560751G:S-1-5-21-2127521184-1604012920-1887927527-513"
    "D:AI(A;;FA;;;SY)(A;;FA;;;BA)(A;;0x1200a9;;;S-1-5-21-397955417-626881126-188441444-3053964)"
    "S:NO_ACCESS_CONTROL"
)
BINARY = (
    "AQAUhGwAAACIAAAAAAAAABQAAAACAFgAAwAAAAAAFAD/AR8AAQEAAAAAAAUSAAAAAAAYAP8BHwABAgAAAAAABSAAAAAgAgAAAAAkAKkA"
    "EgABBQAAAAAABRUAAABZUbgXZnJdJWRjOwuMmS4AAQUAAAAAAAUVAAAAoGXPfnhLm1/nfIdwr/1IAQEFAAAAAAAFFQAAAKBlz354S5tf"
    "53yHcAECAAA="
)


def test_the_pair_of_the_service():
    assert base64.b64encode(to_binary(SDDL)).decode() == BINARY
    assert from_binary(base64.b64decode(BINARY)) == SDDL


@pytest.mark.parametrize(
    "text",
    [
        DEFAULT_SDDL,
        "O:SY",
        "G:WD",
        "D:",
        "D:PAI(A;OICIIOID;CCDCLC;;;WD)",
        "D:PARAI(D;NP;GA;;;S-1-5-21-1-2-3-4)S:AI(AU;SAFA;FW;;;AN)",
        "O:BAG:BUD:NO_ACCESS_CONTROLS:P(ML;;0x1;;;LW)".replace("0x1", "CC"),
    ],
)
def test_text_comes_back(text):
    check_permission(text, is_binary=False)
    assert from_binary(to_binary(text)) == text


ENTRIES = st.builds(
    "({};{};{};;;{})".format,
    st.sampled_from(["A", "D"]),
    st.sampled_from(["", "OI", "OICI", "OICINPIOID"]),
    st.one_of(st.sampled_from(["FA", "FR", "GA", "SDRC"]), st.integers(1 << 21, (1 << 25) - 1).map(hex)),
    st.one_of(st.sampled_from(["SY", "WD", "BA"]), st.integers(0, 0xFFFFFFFF).map("S-1-5-21-7-{}".format)),
)


@given(st.lists(ENTRIES, max_size=5), st.sampled_from(["", "P", "AI", "PAI"]))
def test_any_list_comes_back(entries, flags):
    text = f"O:SYG:BAD:{flags}{''.join(entries)}"
    assert from_binary(to_binary(text)) == text


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_raise(data):
    for given_data in (data, base64.b64decode(BINARY)[:20] + data):
        try:
            from_binary(given_data)
        except ValueError:
            continue


@pytest.mark.parametrize(
    "text",
    [
        "",
        "D",
        "X:SY",
        "O:SYO:SY",
        "O:DA",
        "D:Q",
        "D:(A;;FA;;;)",
        "D:(OA;;FA;;;SY)",
        "D:(A;;XX;;;SY)",
        "O:SY nonsense",
    ],
)
def test_what_has_no_binary_form(text):
    with pytest.raises(ValueError):  # noqa: PT011 - whichever part is not understood
        to_binary(text)


@pytest.mark.parametrize("text", ["", "nonsense", "O:", "S:D:", "D:(A;;FA;;;SY"])
def test_what_is_no_permission(text):
    with pytest.raises(StorageError):
        check_permission(text, is_binary=False)
    with pytest.raises(StorageError):
        check_permission(text, is_binary=True)
