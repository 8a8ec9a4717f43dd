"""CRC64 and structured bodies, beside what the SDK makes and reads of them."""

import io

import pytest
from azure.storage.blob._shared.streams import (
    StructuredMessageDecoder,
    StructuredMessageEncodeStream,
    StructuredMessageProperties,
)
from hypothesis import given
from hypothesis import strategies as st

from openbatchai.dataplane.crc64 import crc64, is_base64, to_base64
from openbatchai.dataplane.errors import StorageCode, StorageError
from openbatchai.dataplane.integrity import Checks, verified
from openbatchai.dataplane.structured import Decoder, Encoder, check_kind, encoded_length

CUTS = st.lists(st.integers(1, 400), max_size=30)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    parts, at = [], 0
    for cut in cuts:
        parts.append(data[at : at + cut])
        at += cut
    return [*parts, data[at:]]


def sdk_message(content: bytes, segment: int) -> bytes:
    flags = StructuredMessageProperties.CRC64
    stream = StructuredMessageEncodeStream(io.BytesIO(content), len(content), flags, segment_size=segment)
    return stream.read()


def bitwise(data: bytes) -> int:
    value = (1 << 64) - 1
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x9A6C9329AC4BC9B5 if value & 1 else 0)
    return value ^ ((1 << 64) - 1)


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_crc64_is_the_polynomial_of_the_service(first, second):
    assert crc64(second, crc64(first)) == bitwise(first + second)
    assert is_base64(to_base64(crc64(first)))


@given(st.binary(max_size=500), st.integers(1, 200), CUTS)
def test_what_the_sdk_wraps_is_unwrapped_whatever_the_pieces(content, segment, cuts):
    decoder = Decoder(len(content))
    assert b"".join(decoder.feed(part) for part in pieces(sdk_message(content, segment), cuts)) == content
    decoder.finish()


@given(st.binary(max_size=500), CUTS)
def test_what_is_wrapped_the_sdk_unwraps(content, cuts):
    encoder = Encoder(len(content))
    parts = pieces(content, cuts) if content else [b""]
    message = b"".join(encoder.feed(part) for part in parts if part or not content)
    assert len(message) == encoded_length(len(content))
    assert StructuredMessageDecoder(iter([message]), len(message)).read() == content


def test_segments_of_a_large_content():
    content = bytes(9 << 20)
    encoder = Encoder(len(content))
    message = b"".join(encoder.feed(part) for part in pieces(content, [1 << 20] * 8))
    assert len(message) == encoded_length(len(content))
    assert StructuredMessageDecoder(iter([message]), len(message)).read() == content


@given(st.binary(min_size=1, max_size=100), st.integers(1, 40), st.data())
def test_a_changed_message_never_passes(content, segment, data):
    message = bytearray(sdk_message(content, segment))
    message[data.draw(st.integers(0, len(message) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(StorageError) as refused:
        verified(bytes(message), Checks(enveloped=len(content)))
    assert refused.value.code in (StorageCode.CRC64_MISMATCH, StorageCode.INVALID_INPUT)


@given(st.binary(min_size=1, max_size=100), st.data())
def test_a_message_cut_short_or_continued_never_passes(content, data):
    message = sdk_message(content, 30)
    other = data.draw(
        st.sampled_from([message[: data.draw(st.integers(0, len(message) - 1))], message + b"x"])
    )
    with pytest.raises(StorageError):
        verified(other, Checks(enveloped=len(content)))


def test_other_kinds_of_messages_are_refused():
    check_kind("XSM/1.0;properties=CRC64")
    for kind in ("XSM/2.0; properties=crc64", "XSM/1.0", "XSM/1.0; properties=md5"):
        with pytest.raises(StorageError) as refused:
            check_kind(kind)
        assert refused.value.code is StorageCode.UNSUPPORTED_HEADER
