"""`config.toml`, the commented default, is what the code does."""

from __future__ import annotations

import re
import socket
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from distd.config import Config, load_config
from distd.config.checks import NOT_IN_THIS_VERSION
from distd.config.sections import LimitWindow, PrefetchEntry
from distd.core.limits import LIMIT_KEYS

FILE = Path(__file__).parents[2] / "config.toml"
TABLE = re.compile(r"#?(\[\[?[a-z.]+\]\]?)")
KEY = re.compile(r"(#?)([a-z_]+) = (.+)")
DERIVED = {"node.name", "cache.hub_dir", "cache.store_dir"}
"""Absent by default and worked out; what the file shows is an example or the outcome."""
FROM_ENVIRONMENT = {"hub.endpoint", "cluster.secret_file", "api.token_file"}
"""Absent, so that the packaged file overrides neither a variable that other programs read too ($HF_ENDPOINT) nor what
systemd hands over ($CREDENTIALS_DIRECTORY)."""


def entries() -> list[tuple[str, str, bool]]:
    """(section.key, value as written, whether it is commented out), in the file's order."""
    section, found = "", []
    for line in FILE.read_text(encoding="utf-8").splitlines():
        if table := TABLE.fullmatch(line):
            section = table[1].strip("[]")
        elif key := KEY.fullmatch(line):
            found.append((f"{section}.{key[2]}", key[3], bool(key[1])))
    return found


def uncommented() -> str:
    """The file with every key and table in force."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    return "\n".join(
        line.removeprefix("#") if TABLE.fullmatch(line) or KEY.fullmatch(line) else line for line in lines
    )


def known() -> dict[str, object]:
    """section.key -> default of the code, as plain values."""
    content: dict[str, Any] = msgspec.to_builtins(Config())
    del content["prefetch"], content["limits"]["window"]
    # A limit of a window may be left out, which TOML has no value for: what the file shows is one that is set.
    stated = dict.fromkeys(LIMIT_KEYS, 0)
    content["limits.window"] = msgspec.to_builtins(LimitWindow(**stated))
    content["prefetch"] = msgspec.to_builtins(PrefetchEntry(repo="org/name"))
    return {f"{section}.{key}": value for section, keys in content.items() for key, value in keys.items()}


def test_every_key_stands_there_exactly_once_and_in_the_order_of_the_code() -> None:
    assert [key for key, _, _ in entries()] == list(known())


def test_as_it_is_it_loads_to_the_defaults() -> None:
    assert load_config(str(FILE), (), {}) == Config()


def test_what_is_commented_out_is_derived_or_not_in_this_version() -> None:
    later = {key for key in known() if key.startswith(("limits.window.", "prefetch."))} | set(
        NOT_IN_THIS_VERSION
    )
    commented = {key for key, _, is_commented in entries() if is_commented}
    assert commented == (DERIVED | FROM_ENVIRONMENT | later) - {"limits.window", "prefetch"}


@pytest.mark.parametrize("key", [key for key in known() if key not in DERIVED])
def test_the_value_shown_is_the_default(key: str, tmp_path: Path) -> None:
    (text,) = [text for name, text, _ in entries() if name == key]
    section, _, name = key.rpartition(".")
    value = tomllib.loads(f"x = {text}")["x"]
    if section in ("limits.window", "prefetch"):
        assert value == (list(known()[key]) if isinstance(value, list) else known()[key])  # type: ignore[call-overload]  # a list of strings
        return
    file = tmp_path / "config.toml"
    file.write_text(f"[{section}]\n{name} = {text}\n")
    assert load_config(str(file), (), {}) == Config()


def test_the_directories_shown_are_those_that_are_derived() -> None:
    shown = {key: tomllib.loads(f"x = {text}")["x"] for key, text, _ in entries()}
    assert (shown["cache.hub_dir"], shown["cache.store_dir"]) == (Config().hub_dir, Config().store_dir)
    assert Config().node.name == socket.gethostname()


def test_with_every_comment_taken_away_it_is_still_toml_with_all_its_keys() -> None:
    content = tomllib.loads(uncommented())
    assert content["limits"]["window"][0]["from"] == "00:00"
    assert content["prefetch"][0]["repo"] == "org/name"
    assert content["cluster"]["listen"] == "127.0.0.1:7071"


def test_every_key_has_a_comment_above_it_or_above_its_group() -> None:
    before = ""
    for line in FILE.read_text(encoding="utf-8").splitlines():
        if KEY.fullmatch(line):
            assert before.startswith("# ") or KEY.fullmatch(before), line
        before = line


def test_the_head_says_how_to_run_from_a_checkout() -> None:
    head = FILE.read_text(encoding="utf-8").split("\n\n")[0]
    assert "distd --config config.toml --set node.state_dir=./state" in head
