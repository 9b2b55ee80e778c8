"""How events stand in a store: as they are, compressed, or sealed."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.core.events import Event, RunResumed, decode_event, encode_event
from plimsoll.journal.codec import (
    COMPRESSED_FROM_BYTES,
    ERASED,
    SEALED,
    RunKey,
    Unreadable,
    encode,
    encoder,
    opened,
    readable,
    seal,
    unseal,
)
from tests.journal.events import any_event
from tests.journal.helpers import value


class PaperKey:
    """A key that hides nothing from anybody who looks closely, and tells whether something was altered."""

    secret = b"paper"

    def seal(self, plain: bytes, *, bound: bytes) -> bytes:
        hidden = bytes(byte ^ 0x55 for byte in plain)
        return sha256(bound + hidden).digest() + hidden

    def unseal(self, sealed: bytes, *, bound: bytes) -> bytes:
        if sha256(bound + sealed[32:]).digest() != sealed[:32]:
            raise Unreadable("altered")
        return bytes(byte ^ 0x55 for byte in sealed[32:])

    def tag(self, text: str) -> str:
        return sha256(b"paper" + text.encode()).hexdigest()


KEY: RunKey = PaperKey()
LARGE = value("word " * COMPRESSED_FROM_BYTES)


@given(any_event())
def test_a_small_event_stands_as_it_is(event: Event) -> None:
    body, json = encode(event)
    assert (body, json) == (encode_event(event), None)
    assert opened(body, None) is None
    assert readable(body) is body


def test_a_large_one_is_compressed() -> None:
    body, json = encode(LARGE)
    assert len(body) < 500 < COMPRESSED_FROM_BYTES
    assert json == opened(body, None) == readable(body) == encode_event(LARGE)


def of_size(size: int) -> Event:
    return value("x" * (size - len(encode_event(value("")))))


def test_compression_begins_at_a_size() -> None:
    below, at = of_size(COMPRESSED_FROM_BYTES - 1), of_size(COMPRESSED_FROM_BYTES)
    assert encode(below) == (encode_event(below), None)
    body, json = encode(at)
    assert body[:1] == b"\x01" and json == encode_event(at) and len(json) == COMPRESSED_FROM_BYTES


def test_any_text_becomes_less() -> None:
    """The worst that JSON can hold: text of as many different characters as there are, in no order."""
    digits = b"".join(sha256(bytes([seed])).digest() for seed in range(250))
    for alphabet in (range(32, 127), [*range(32, 127), *range(0xA0, 0x800)], range(0x10000, 0x110000)):
        noise = "".join(chr(alphabet[int.from_bytes(digits[n : n + 4]) % len(alphabet)]) for n in range(0, 7000, 1))
        body, json = encode(value(noise))
        assert json is not None and len(body) < len(json)


def test_an_event_without_anything_personal_is_not_sealed() -> None:
    resumed = RunResumed(crashed=True, fingerprint="f")
    assert encoder(KEY)(resumed) == encode(resumed) == (encode_event(resumed), None)


@given(any_event(), st.booleans())
def test_a_sealed_event_is_read_back_with_its_key_alone(event: Event, large: bool) -> None:
    body, json = encoder(KEY)(event)
    plain = encode_event(event)
    assert plain in (body, json)
    assert (opened(body, KEY) or body) == plain
    if json is not None:
        decode_event(opened(body, None) or body)


def test_nothing_personal_can_be_read_in_a_sealed_body() -> None:
    body, json = encoder(KEY)(value({"card": "4111 1111"}))
    assert json is not None and b"4111" in json
    assert b"4111" not in body
    assert readable(body) == b'{"key":"k","type":"value_recorded"}'
    assert decode_event(opened(body, None) or b"") == value(SEALED)
    assert decode_event(opened(body, None, missing=ERASED) or b"") == value(ERASED)


def test_a_large_sealed_body_is_compressed_first() -> None:
    body, json = encoder(KEY)(LARGE)
    assert len(body) < 500
    assert opened(body, KEY) == json == encode_event(LARGE)


def test_what_was_sealed_apart_is_unsealed() -> None:
    assert unseal(seal({}, {"note": "ok"}, KEY), KEY) == {"note": "ok"}


@pytest.mark.parametrize("event", [value("x"), LARGE], ids=["small", "large"])
@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "sealed"])
@given(data=st.data())
def test_no_altered_body_is_read_as_another(event: Event, key: RunKey | None, data: st.DataObject) -> None:
    """Only JSON that stands as it is can be altered into other JSON: there the hash chain is what tells."""
    body, json = encoder(key)(event)
    if json is None:
        return
    place = data.draw(st.integers(1, len(body) - 1))
    altered = body[:place] + bytes([body[place] ^ data.draw(st.integers(1, 255))]) + body[place + 1 :]
    for damaged in (altered, body[:place], b"\x03" + body[1:], b""):
        try:
            assert opened(damaged, key) == json, "a bit that zlib does not use"
        except Unreadable:
            pass
        else:
            assert key is None and damaged == altered


def test_no_body_may_claim_to_be_enormous(monkeypatch: pytest.MonkeyPatch) -> None:
    body, json = encode(LARGE)
    monkeypatch.setattr("plimsoll.journal.codec._MOST_BYTES", len(json or b"") - 1)
    with pytest.raises(Unreadable, match="too large"):
        opened(body, None)
    assert encode(LARGE) == (json, None)
    monkeypatch.setattr("plimsoll.journal.codec._MOST_BYTES", len(json or b""))
    assert encode(LARGE) == (body, json) and opened(body, None) == json


def framed(public: bytes, personal: bytes) -> bytes:
    frame = b"\x02" + len(public).to_bytes(4, "big") + public
    return frame + KEY.seal(personal, bound=frame)


UNREADABLE = [
    (b"\x03{}", r"^its form is not known here \(it begins with b'\\x03'\)$"),
    (b"", r"^its form is not known here \(it begins with b''\)$"),
    (b"\x01nonsense", r"^it does not decompress \(Error -3 .*\)$"),
    (encode(LARGE)[0][:-1], r"^it does not decompress \(it is cut off, or too large\)$"),
    (encode(LARGE)[0] + b"x", r"^it does not decompress \(it is cut off, or too large\)$"),
    (b"\x02\x00\x00\x00", r"^it is no sealed body$"),
    (b"\x02\x00\x00\x00\x01", r"^it is cut off$"),
    (b"\x02\x00\x00\x00\x00", r"^altered$"),
    (b"\x02\x00\x00\x00\x02{}", r"^altered$"),
    (framed(b"{", b"{}"), r"^not JSON: "),
    (framed(b"{}", b"{"), r"^not JSON: "),
    (framed(b"{}", b"\x03"), r"^its form is not known here"),
]


@pytest.mark.parametrize("case", UNREADABLE, ids=range(len(UNREADABLE)))
def test_what_is_no_body_is_told_as_what_it_is(case: tuple[bytes, str]) -> None:
    body, says = case
    with pytest.raises(Unreadable, match=says):
        opened(body, KEY)


def test_only_a_sealed_body_is_unsealed() -> None:
    for body in (b'{"note":"ok"}', encode(LARGE)[0], b""):
        with pytest.raises(Unreadable, match=r"^it is no sealed body$"):
            unseal(body, KEY)
