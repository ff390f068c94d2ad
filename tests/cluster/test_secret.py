"""Which files are accepted as a cluster secret, and what the refused ones are told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from peers.secret import SECRET_FILE_BYTES_MAX, SecretUnusable, generate, parse, read

FIXED = "QJZ_Z2C_XmhI-zqlq2BbU33xbMtXMvdoelRVALm0Unc"
"""What `generate` once returned: parameters of tests are the same in every process that collects them."""


def write(path: Path, content: str, mode: int = 0o600) -> str:
    path.write_text(content)
    path.chmod(mode)
    return str(path)


def test_generated_secrets_are_accepted_and_differ(tmp_path: Path) -> None:
    first, second = generate(), generate()
    assert first != second
    assert read(write(tmp_path / "s", first + "\n")).accepted == (first.encode(),)


def test_the_first_of_two_lines_signs(tmp_path: Path) -> None:
    first, second = generate(), generate()
    secret = read(write(tmp_path / "s", f"\n  {first}\r\n\n{second}"))
    assert secret.accepted == (first.encode(), second.encode())
    assert secret.signing == first.encode()


def test_a_secret_never_shows_itself() -> None:
    text = generate()
    assert text not in repr(parse(text, "s"))


@pytest.mark.parametrize("text", ["0f9c2ab1764de83350a1f2b4c6d8e7f9", FIXED])
def test_random_text_of_128_bits_is_enough(text: str) -> None:
    assert parse(text, "s").signing == text.encode()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("\n \n", "empty"),
        ("correct horse", "13 characters of at least 32"),
        ("a" * 64, "repeats itself"),
        ("secret" * 6, "repeats itself"),
        ("\n".join((FIXED, FIXED[::-1], FIXED.swapcase())), "3 lines"),
        (FIXED + "\nshort", "line 2 has 5 characters"),
    ],
)
def test_what_is_no_secret_is_refused_with_the_reason_and_a_way_out(text: str, reason: str) -> None:
    with pytest.raises(SecretUnusable) as refused:
        parse(text, "/etc/distd/secret")
    assert reason in refused.value.reason
    assert not refused.value.retryable
    assert "/etc/distd/secret" in str(refused.value)
    assert refused.value.advice in str(refused.value)
    for line in filter(None, text.split()):
        assert line not in str(refused.value)


@pytest.mark.parametrize("mode", [0o604, 0o606, 0o620, 0o644, 0o666])
def test_a_file_that_others_can_read_or_a_group_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "s", generate(), mode)
    with pytest.raises(SecretUnusable) as refused:
        read(path)
    assert f"{mode:04o}" in refused.value.reason
    assert "chmod 600" in refused.value.advice


def test_a_file_that_its_group_can_read_is_accepted_with_a_warning(tmp_path: Path) -> None:
    (warning,) = read(write(tmp_path / "s", generate(), 0o640)).warnings
    assert "0640" in warning
    assert read(write(tmp_path / "t", generate(), 0o400)).warnings == ()


def test_what_is_no_file_of_text_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    binary = tmp_path / "binary"
    binary.write_bytes(bytes(range(256)))
    binary.chmod(0o600)
    long = write(tmp_path / "long", "x" * (SECRET_FILE_BYTES_MAX + 1))
    for path in (tmp_path / "missing", tmp_path, tmp_path / "pipe", binary, Path(long)):
        with pytest.raises(SecretUnusable):
            read(str(path))
