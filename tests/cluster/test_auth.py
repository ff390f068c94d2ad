"""Proofs hold for what was signed, once, in time and at its recipient; for nothing else."""

from __future__ import annotations

import hashlib
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peers import auth
from peers.auth import (
    WINDOW_S,
    ClockSkew,
    Keys,
    NoncesFull,
    NotAuthenticated,
    Proof,
    Replayed,
    Signer,
    Verifier,
    WrongRecipient,
    WrongVersion,
    answer_holds,
    answer_mac,
    derive,
)
from peers.secret import Secret

OLD = Secret((b"old secret",))
BOTH = Secret((b"new secret", b"old secret"))
NEW = Secret((b"new secret",))
START = bytes(range(16))
BODY = hashlib.sha256(b"body").digest()
NOW = 1_800_000_000.0
PATH = "/c1/lead?x=1"


def signed(secret: Secret = OLD, nonce: int = 1, now: float = NOW, **changed: Any) -> Proof:
    told = {"recipient": "b", "start_id": START, "wire_version": 1} | changed
    return Signer(secret, "a").sign(
        method="POST", path=PATH, body_sha256=BODY, nonce=nonce.to_bytes(16, "big"), now=now, **told
    )


def verifier(secret: Secret = OLD, start_id: bytes = START) -> Verifier:
    return Verifier(secret, "b", start_id, {0, 1})


def test_a_genuine_request_is_accepted_once() -> None:
    here, header = verifier(), signed().header()
    assert here.verify(header, "POST", PATH, NOW).proof == signed()
    with pytest.raises(Replayed):
        here.verify(header, "POST", PATH, NOW)
    with pytest.raises(Replayed):
        here.verify(header, "POST", PATH, NOW + WINDOW_S)


@given(st.text(min_size=1, max_size=60), st.text(max_size=60))
def test_headers_carry_names_of_any_text(sender: str, recipient: str) -> None:
    proof = replace(signed(), sender=sender, recipient=recipient)
    assert Proof.parse(proof.header()) == proof
    assert proof.header().isascii()


@given(st.data())
def test_any_altered_field_is_refused(data: st.DataObject) -> None:
    proof = signed()
    field = data.draw(st.sampled_from([field.name for field in fields(Proof)]))
    old = getattr(proof, field)
    strategies: dict[type, st.SearchStrategy[Any]] = {
        int: st.integers(0, 99_999),
        str: st.text(min_size=1, max_size=20),
        bytes: st.binary(min_size=len(old), max_size=len(old)) if isinstance(old, bytes) else st.nothing(),
    }
    new = data.draw(strategies[type(old)].filter(lambda value: value != old))
    with pytest.raises(NotAuthenticated):
        verifier().verify(replace(proof, **{field: new}).header(), "POST", PATH, NOW)


@given(st.data())
def test_any_altered_character_of_the_header_is_refused(data: st.DataObject) -> None:
    header = signed().header()
    place = data.draw(st.integers(0, len(header) - 1))
    letter = data.draw(st.characters(max_codepoint=255).filter(lambda letter: letter != header[place]))
    for altered in (
        header[:place] + letter + header[place + 1 :],
        header[:place] + letter + header[place:],
        header[:place] + header[place + 1 :],
    ):
        if altered != header:
            with pytest.raises(NotAuthenticated):
                verifier().verify(altered, "POST", PATH, NOW)


@given(st.text(max_size=300))
def test_garbage_is_refused(header: str) -> None:
    with pytest.raises(NotAuthenticated):
        verifier().verify(header, "POST", PATH, NOW)


@given(st.sampled_from(["GET", "PUT", "post", ""]), st.text(max_size=30).filter(lambda path: path != PATH))
def test_another_method_or_path_is_refused(method: str, path: str) -> None:
    with pytest.raises(NotAuthenticated):
        verifier().verify(signed().header(), method, PATH, NOW)
    with pytest.raises(NotAuthenticated):
        verifier().verify(signed().header(), "POST", path, NOW)


def test_fields_cannot_be_shifted_into_each_other() -> None:
    keys = Keys.of(b"s")
    proof = replace(signed(), sender="ab", recipient="c")
    assert proof.mac_with(keys, "POST", "/x") != replace(proof, sender="a", recipient="bc").mac_with(
        keys, "POST", "/x"
    )
    assert proof.mac_with(keys, "POST", "/x") != proof.mac_with(keys, "POS", "T/x")


@pytest.mark.parametrize("off_s", [WINDOW_S + 0.5, -WINDOW_S - 0.5])
def test_a_request_outside_the_window_is_refused_with_the_seconds(off_s: float) -> None:
    with pytest.raises(ClockSkew) as refused:
        verifier().verify(signed(now=NOW + off_s).header(), "POST", PATH, NOW)
    assert refused.value.skew_s == pytest.approx(off_s)
    assert f"{abs(off_s):.0f} s" in str(refused.value)


@given(st.floats(-WINDOW_S + 0.01, WINDOW_S - 0.01), st.floats(0, 2 * WINDOW_S))
def test_no_request_is_accepted_twice_however_long_it_is_kept(off_s: float, later_s: float) -> None:
    here, header = verifier(), signed(now=NOW + off_s).header()
    here.verify(header, "POST", PATH, NOW)
    for number in range(2, 6):
        here.verify(signed(nonce=number, now=NOW + later_s).header(), "POST", PATH, NOW + later_s)
    with pytest.raises((Replayed, ClockSkew)):
        here.verify(header, "POST", PATH, NOW + later_s)


@pytest.mark.parametrize(
    "changed", [{"recipient": "c"}, {"recipient": ""}, {"start_id": b""}, {"start_id": bytes(16)}]
)
def test_a_request_for_another_start_is_refused_and_can_be_told_so(changed: dict[str, Any]) -> None:
    here, header = verifier(), signed(**changed).header()
    for _ in range(2):  # nothing is carried out, so no nonce is used up
        with pytest.raises(WrongRecipient) as refused:
            here.verify(header, "POST", PATH, NOW)
    assert here.keys_of(refused.value.proof, "POST", PATH) == Keys.of(b"old secret")


def test_a_recorded_request_is_not_accepted_after_a_restart() -> None:
    header = signed().header()
    verifier().verify(header, "POST", PATH, NOW)
    with pytest.raises(WrongRecipient):
        verifier(start_id=bytes(16)).verify(header, "POST", PATH, NOW)


def test_only_spoken_versions_are_accepted() -> None:
    verifier().verify(signed(wire_version=0).header(), "POST", PATH, NOW)
    with pytest.raises(WrongVersion):
        verifier().verify(signed(wire_version=2).header(), "POST", PATH, NOW)


def test_both_lines_are_accepted_and_the_answer_uses_the_senders() -> None:
    for secret, accepted in ((OLD, BOTH), (NEW, BOTH), (BOTH, NEW)):
        keys = verifier(accepted).verify(signed(secret).header(), "POST", PATH, NOW).keys
        assert keys == Signer(secret, "a").keys
    with pytest.raises(NotAuthenticated):
        verifier(NEW).verify(signed(OLD).header(), "POST", PATH, NOW)


def test_memory_for_nonces_is_bounded_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "NONCES_MAX", 3)
    here = verifier()
    for number in range(3):
        here.verify(signed(nonce=number).header(), "POST", PATH, NOW)
    with pytest.raises(NoncesFull):
        here.verify(signed(nonce=3).header(), "POST", PATH, NOW)
    later = NOW + 2 * WINDOW_S
    for number in range(3):
        here.verify(signed(nonce=number, now=later).header(), "POST", PATH, later)


@given(st.binary(max_size=40), st.binary(max_size=40), st.sampled_from([200, 409, 421]))
def test_an_answer_holds_for_its_nonce_status_and_body_only(nonce: bytes, body: bytes, status: int) -> None:
    keys = Keys.of(b"s")
    mac = answer_mac(keys, nonce, status, body)
    assert answer_holds([Keys.of(b"t"), keys], nonce, status, body, mac)
    assert not answer_holds([Keys.of(b"t")], nonce, status, body, mac)
    assert not answer_holds([keys], nonce + b"x", status, body, mac)
    assert not answer_holds([keys], nonce, status + 1, body, mac)
    assert not answer_holds([keys], nonce, status, body + b"x", mac)
    assert not answer_holds([keys], nonce, status, body, mac[:-1])
    assert not answer_holds([keys], nonce, status, body, b"")


def test_every_purpose_has_a_key_of_its_own() -> None:
    keys = Keys.of(b"s")
    derived = {keys.request, keys.answer, keys.frame, derive(b"s", "swarm"), derive(b"t", "swarm"), b"s"}
    assert len(derived) == 6
    assert auth.accepted_swarm_keys(BOTH) == (derive(b"new secret", "swarm"), derive(b"old secret", "swarm"))


def test_derived_keys_are_part_of_the_wire_format() -> None:
    """RFC 5869 with salt "distd cluster secret", info the purpose, one block; the value is OpenSSL's."""
    assert derive(b"secret", "swarm").hex() == EXPECTED_SWARM_KEY


EXPECTED_SWARM_KEY = "2ababf74d12135c9d3fc9047c8f0a40aedfa17e1ce8243528ddc6790ac222dce"
