"""The configuration in force as TOML, for `distd --print-config`; it can be used as a file again."""

from __future__ import annotations

import json

import msgspec

from distd.config.sections import Config


def config_as_toml(config: Config) -> str:
    """Every section and key with its value. No secrets: the configuration only names files of secrets."""
    content = msgspec.to_builtins(config)
    tables = content.pop("prefetch")
    windows = content["limits"].pop("window")
    lines: list[str] = []
    for section, keys in content.items():
        lines += [f"[{section}]", *(f"{key} = {_value(value)}" for key, value in keys.items()), ""]
    for name, entries in (("limits.window", windows), ("prefetch", tables)):
        for entry in entries:
            stated = {key: value for key, value in entry.items() if value is not None}
            lines += [f"[[{name}]]", *(f"{key} = {_value(value)}" for key, value in stated.items()), ""]
    return "\n".join(lines)


def _value(value: object) -> str:
    # JSON's strings, numbers, booleans and arrays of them are TOML's too, but for a bare DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
