"""Fills the configuration: defaults < credentials < file < `DISTD_SECTION__KEY` < `--set`, and says all that is wrong.

Every fault names where the value came from, the key, the value and what is allowed; an unknown key
suggests the nearest one. Nothing is guessed and nothing is ignored.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

from distd.config.checks import check_config
from distd.config.faults import ConfigError, Fault
from distd.config.kinds import Kind
from distd.config.sections import Config

DEFAULT_FILE = "/etc/distd/config.toml"
ENVIRONMENT_PREFIX = "DISTD_"
CREDENTIALS = {"cluster-secret": ("cluster", "secret_file"), "api-token": ("api", "token_file")}
"""What systemd hands over as a file in `$CREDENTIALS_DIRECTORY`, and the key that it is the default of. The Hub's
token is the third, and `config.token` looks for it at each use."""
CREDENTIALS_SOURCE = "/etc/distd/credentials"
"""Where the unit takes them from. Read itself where systemd handed nothing over: so that root's `distd --check` sees what
the service will see."""
NO_CREDENTIAL = b"none"
"""The content of a credential that is not there: systemd fails a unit whose file is missing and has no fallback."""


@dataclass(frozen=True)
class _Value:
    """A value with where it came from. `is_text`: it was written outside TOML and has no type yet."""

    value: object
    source: str
    is_text: bool = False


def load_config(
    file: str | None = None, settings: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Config:
    """Returns the checked configuration. Raises ConfigError with every fault found, not only the first.

    `file` None: `$DISTD_CONFIG`, else `/etc/distd/config.toml` where it exists. `settings` are the
    `SECTION.KEY=VALUE` words of `--set`.
    """
    environment = os.environ if environment is None else environment
    faults: list[Fault] = []
    values: dict[tuple[str, str], _Value] = {}
    if environment.get("HF_ENDPOINT"):
        values["hub", "endpoint"] = _Value(
            environment["HF_ENDPOINT"], "environment HF_ENDPOINT", is_text=True
        )
    values |= _from_credentials(environment)
    values |= _from_file(_file_to_read(file, environment), faults)
    values |= _from_environment(environment, faults)
    values |= _from_settings(settings, faults)
    sections: dict[str, Any] = {}
    for (section, key), given in values.items():
        _place(sections, section, key, given, faults)
    if faults:
        raise ConfigError(faults)
    built: dict[str, Any] = {
        name: content if name == "prefetch" else _section_types()[name](**content)
        for name, content in sections.items()
    }
    config = Config(**built)
    sources = {f"{section}.{key}".rstrip("."): given.source for (section, key), given in values.items()}
    faults = check_config(config, sources)
    if faults:
        raise ConfigError(faults)
    return config


def _file_to_read(file: str | None, environment: Mapping[str, str]) -> str | None:
    chosen = file or environment.get("DISTD_CONFIG")
    if chosen:
        return chosen
    return DEFAULT_FILE if os.path.exists(DEFAULT_FILE) else None


def _from_file(path: str | None, faults: list[Fault]) -> dict[tuple[str, str], _Value]:
    if path is None:
        return {}
    try:
        with open(path, "rb") as stream:
            content = tomllib.load(stream)
    except OSError as error:
        faults.append(Fault(path, "", "", f"cannot be read: {error.strerror or error}"))
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        faults.append(Fault(path, "", "", f"is not valid TOML: {error}"))
        return {}
    values: dict[tuple[str, str], _Value] = {}
    for section, table in content.items():
        if section == "prefetch":
            values["prefetch", ""] = _Value(table, path)
        elif section not in _section_types():
            faults.append(Fault(path, section, "", f"unknown section{_nearest(section, _section_types())}"))
        elif not isinstance(table, dict):
            faults.append(
                Fault(path, section, repr(table), f"is a section: write [{section}] on its own line")
            )
        else:
            values |= {(section, key): _Value(value, path) for key, value in table.items()}
    return values


def _from_credentials(environment: Mapping[str, str]) -> dict[tuple[str, str], _Value]:
    directory = environment.get("CREDENTIALS_DIRECTORY") or CREDENTIALS_SOURCE
    values = {}
    for name, key in CREDENTIALS.items():
        path = f"{directory}/{name}"
        try:
            with open(path, "rb") as stream:
                content = stream.read(len(NO_CREDENTIAL) + 2).strip()
        except OSError:
            continue  # none, or not for this user, who may know better
        if content not in (b"", NO_CREDENTIAL):
            values[key] = _Value(path, f"credential {name}")
    return values


def _from_environment(environment: Mapping[str, str], faults: list[Fault]) -> dict[tuple[str, str], _Value]:
    values = {}
    for name, text in sorted(environment.items()):
        section, separator, key = name.removeprefix(ENVIRONMENT_PREFIX).partition("__")
        if not name.startswith(ENVIRONMENT_PREFIX) or not separator:
            continue
        source = f"environment {name}"
        section, key = section.lower(), key.lower()
        if _known_section(section, key, text, source, faults):
            values[section, key] = _Value(text, source, is_text=True)
    return values


def _from_settings(settings: Sequence[str], faults: list[Fault]) -> dict[tuple[str, str], _Value]:
    values = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        section, dot, key = name.strip().partition(".")
        source = f"--set {setting}"
        if not equals or not dot:
            faults.append(Fault(source, name, text, "write --set SECTION.KEY=VALUE"))
        elif _known_section(section, key, text, source, faults):
            values[section, key] = _Value(text, source, is_text=True)
    return values


def _known_section(section: str, key: str, text: str, source: str, faults: list[Fault]) -> bool:
    if section in _section_types():
        return True
    reason = (
        "lists of tables are set in the file only"
        if section == "prefetch"
        else f"unknown section{_nearest(section, _section_types())}"
    )
    faults.append(Fault(source, f"{section}.{key}", text, reason))
    return False


def _place(sections: dict[str, Any], section: str, key: str, given: _Value, faults: list[Fault]) -> None:
    """Converts one value to its field's type and puts it into its section, or notes why not."""
    if section == "prefetch":
        hint: Any = get_type_hints(Config, include_extras=True)["prefetch"]
        name = "prefetch"
    else:
        hints = _keys(_section_types()[section])
        name = f"{section}.{key}"
        if key not in hints:
            faults.append(Fault(given.source, name, given.value, f"unknown key{_nearest(key, hints)}"))
            return
        hint = hints[key]
    try:
        value = _convert(given.value, hint, given.is_text, name)
    except _Unconvertible as error:
        faults.append(Fault(given.source, error.key, error.value, error.reason))
        return
    if section == "prefetch":
        sections["prefetch"] = value
    else:
        sections.setdefault(section, {})[key] = value


@dataclass
class _Unconvertible(Exception):
    key: str
    value: object
    reason: str


def _convert(value: object, hint: Any, is_text: bool, key: str) -> object:
    """`value` as the type `hint` says. Raises _Unconvertible naming the innermost key at fault."""
    kind = next((mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, Kind)), None)
    if kind is not None:
        try:
            return kind.parse(value)
        except ValueError as error:
            raise _Unconvertible(key, value, str(error)) from error
    if get_origin(hint) is tuple:
        return _convert_list(value, get_args(hint)[0], is_text, key)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return _convert_table(value, hint, key)
    try:
        return msgspec.convert(value, hint, strict=not is_text)
    except msgspec.ValidationError as error:
        raise _Unconvertible(key, value, _allowed(hint, str(error))) from error


def _convert_list(value: object, hint: Any, is_text: bool, key: str) -> object:
    if is_text:
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            raise _Unconvertible(key, value, "lists of tables are set in the file only")
        value = [word.strip() for word in str(value).split(",") if word.strip()]
    if not isinstance(value, list):
        raise _Unconvertible(key, value, "is a list: write it in [brackets]")
    return tuple(_convert(item, hint, is_text, f"{key}[{index}]") for index, item in enumerate(value))


def _convert_table(value: object, struct: type[msgspec.Struct], key: str) -> object:
    if not isinstance(value, dict):
        raise _Unconvertible(key, value, "is a table of keys and values")
    hints = _keys(struct)
    content = {}
    for name, item in value.items():
        if name not in hints:
            raise _Unconvertible(f"{key}.{name}", item, f"unknown key{_nearest(name, hints)}")
        content[_attribute(struct, name)] = _convert(item, hints[name], False, f"{key}.{name}")
    missing = [f.encode_name for f in msgspec.structs.fields(struct) if f.required and f.name not in content]
    if missing:
        raise _Unconvertible(key, value, f"lacks {', '.join(missing)}")
    return struct(**content)


def _section_types() -> dict[str, type[msgspec.Struct]]:
    hints = get_type_hints(Config)
    return {
        name: hint
        for name, hint in hints.items()
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct)
    }


def _keys(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """Key as written in the file -> the field's type with its marks."""
    hints = get_type_hints(struct, include_extras=True)
    return {f.encode_name: hints[f.name] for f in msgspec.structs.fields(struct)}


def _attribute(struct: type[msgspec.Struct], key: str) -> str:
    return next(f.name for f in msgspec.structs.fields(struct) if f.encode_name == key)


def _nearest(word: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f": did you mean {close[0]!r}?" if close else f": one of {', '.join(sorted(known))}"


def _allowed(hint: Any, error: str) -> str:
    choices = get_args(hint)
    if choices and all(isinstance(choice, str) for choice in choices):
        return f"must be one of {', '.join(choices)}"
    return error[:1].lower() + error[1:]
