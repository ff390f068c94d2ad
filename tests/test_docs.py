"""The documents say what the code has: nothing missing, nothing that is not there.

Each check reads a document's tables and headings as data. What a person only reads is not checked here.
"""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any, cast, get_args, get_type_hints

import click
import msgspec
import pytest

from distd import errors
from distd.api import audit_schema, housekeeping_schema, node_schema, peer_schema, rate_schema, schema
from distd.api.metrics import families
from distd.api.ports import Ports
from distd.api.server import build_app
from distd.cli.main import COMMANDS
from distd.cli.options import shared_options
from distd.config import Config, ConfigError, load_config
from distd.config.checks import NOT_IN_THIS_VERSION
from distd.config.sections import LimitWindow, PrefetchEntry
from tests.api.memory import MemoryDaemon

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    *("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"),
    *(
        f"docs/{name}.md"
        for name in (
            "API",
            "CLI",
            "CLUSTER",
            "CONFIG",
            "DASHBOARD",
            "MONITORING",
            "OPERATIONS",
            "SERVING",
            "THREATS",
        )
    ),
)
FOLDERS = (
    "distd/",
    "peers/",
    "tests/",
    "bench/",
    "docs/",
    "requirements/",
    "systemd/",
    "packaging/",
    "monitoring/",
)
ARCHITECTURE_LINES_MAX = 260
"""What a newcomer reads in one sitting."""
SECTION_KEYS: dict[str, type[msgspec.Struct]] = {
    "[[limits.window]]": LimitWindow,
    "[[prefetch]]": PrefetchEntry,
    **{
        f"[{name}]": kind
        for name, kind in get_type_hints(Config).items()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    },
}
ANSWERS: dict[str, type[msgspec.Struct]] = {
    "GET /v1/status": schema.StatusView,
    "GET /v1/peers": schema.PeerView,
    "GET /v1/audit": audit_schema.AuditView,
    "GET /v1/bans": peer_schema.BanView,
    "POST /v1/peers/{name}/recheck": peer_schema.RecheckView,
    "GET /v1/peers/{name}/drain": peer_schema.DrainView,
    "GET /v1/doctor": schema.Finding,
    "GET /v1/limits": schema.LimitsView,
    "GET /v1/prefetch": schema.PrefetchView,
    "GET /v1/pulls/{id}": schema.PullView,
    "GET /v1/pulls/{id}/story": schema.StoryEntry,
    "GET /v1/plan": schema.PlanView,
    "GET /v1/estimate": rate_schema.EstimateView,
    "GET /v1/rates": rate_schema.RateView,
    "GET /v1/models/{type}/{org}/{name}": schema.ModelView,
    "GET /v1/models/{type}/{org}/{name}/wait": node_schema.WaitView,
    "GET /v1/models/{type}/{org}/{name}/nodes": schema.NodeHoldingView,
    "DELETE /v1/models/{type}/{org}/{name}": schema.RemovedView,
    "POST /v1/models/{type}/{org}/{name}/verify": schema.VerifyView,
    "POST /v1/gc": housekeeping_schema.GcView,
    "POST /v1/adopt": housekeeping_schema.AdoptView,
    "POST /v1/import": housekeeping_schema.ImportedView,
    "Problems": schema.ProblemView,
}
"""Heading of docs/API.md -> what its example is, alone or as the items of a list."""


@cache
def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@cache
def sections_of(name: str) -> dict[str, str]:
    """Heading -> the text up to the next heading of any level, in order; code blocks have no headings."""
    found: dict[str, list[str]] = {"": []}
    current, in_code = "", False
    for line in text_of(name).splitlines():
        in_code ^= line.startswith("```")
        heading = None if in_code else re.match(r"#+ (.*)", line)
        if heading:
            current = heading[1]
            assert current not in found, f"{name} has two headings {current!r}"
            found[current] = []
        else:
            found[current].append(line)
    return {heading: "\n".join(lines) for heading, lines in found.items()}


def rows_of(section: str) -> list[list[str]]:
    """Cells of the tables' rows, without their head."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("|")
    ]
    rules = [index for index, row in enumerate(rows) if all(set(cell) == {"-"} for cell in row)]
    heads = {index - 1 for index in rules}
    return [row for index, row in enumerate(rows) if index not in heads and index not in rules]


def code_in(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", text)


def expanded(word: str) -> list[str]:
    """`a/{b,c}.py` -> `a/b.py` and `a/c.py`."""
    parts = re.split(r"\{([^}]*)\}", word)
    return ["".join(choice) for choice in product(*(part.split(",") for part in parts))]


def paths_named(text: str) -> Iterator[str]:
    """Everything in code that is written as a path of this repository; a test's name is left out."""
    for word in code_in(text):
        for path in expanded(word):
            if path.startswith(FOLDERS) and not re.search(r"[\s<>]", path):
                yield path.partition("::")[0]


def code_blocks(section: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", section, re.DOTALL | re.MULTILINE)


# Everything that is named is there.


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_file_named_in_a_document_exists(name: str) -> None:
    assert [path for path in paths_named(text_of(name)) if not any(ROOT.glob(path))] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_inside_the_repository_leads_somewhere(name: str) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", text_of(name))
    inside = [link for link in links if "://" not in link]
    assert [link for link in inside if not ((ROOT / name).parent / link).exists()] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_make_target_named_exists(name: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", text_of("Makefile"), re.MULTILINE))
    named = {match for code in code_in(text_of(name)) for match in re.findall(r"^make ([a-z]+)", code)}
    assert named <= targets


# ARCHITECTURE.md


def test_the_architecture_is_read_in_one_sitting() -> None:
    assert text_of("ARCHITECTURE.md").count("\n") <= ARCHITECTURE_LINES_MAX


def test_every_module_is_on_the_map() -> None:
    """By its own name, or by that of the package it is in, if that is not the whole program."""
    rows = rows_of(sections_of("ARCHITECTURE.md")["Map"])
    named = {path for where, _ in rows for path in paths_named(where)}
    assert not named & {"distd/", "peers/"}
    files = {path for pattern in named for path in ROOT.glob(pattern)}
    missing = []
    for package in ("distd", "peers"):
        for module in sorted((ROOT / package).rglob("*.py")):
            is_door = module.name in ("__init__.py", "__main__.py")
            folders = {parent for parent in module.parents if parent.is_relative_to(ROOT / package)}
            if not (is_door or module in files or folders & files):
                missing.append(module.relative_to(ROOT).as_posix())
    assert missing == []


def test_every_invariant_names_tests_that_exist() -> None:
    rows = rows_of(sections_of("ARCHITECTURE.md")["Invariants"])
    assert len(rows) > 10
    missing = []
    for absence, held_by in rows:
        tests = [word.split("::") for word in code_in(held_by)]
        assert tests, absence
        for path, test in tests:
            functions = {
                node.name
                for node in ast.walk(ast.parse(text_of(path)))
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            }
            if test not in functions:
                missing.append(f"{path}::{test}")
    assert missing == []


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    needed = {re.match(r"[\w-]+", line)[0] for line in project["dependencies"]}  # type: ignore[index]  # they match
    reasons = {
        word for row in rows_of(sections_of("ARCHITECTURE.md")["Libraries"]) for word in code_in(row[0])
    }
    assert reasons == needed


# docs/CONFIG.md


def keys_of(kind: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    return {found.encode_name: found for found in msgspec.structs.fields(kind)}


def documented_keys(section: str) -> dict[str, list[str]]:
    """Key -> meaning, default, example as written."""
    rows = rows_of(sections_of("docs/CONFIG.md")[section])
    return {code_in(row[0])[0]: row[1:] for row in rows}


def test_every_section_has_its_heading() -> None:
    headings = {heading for heading in sections_of("docs/CONFIG.md") if heading.startswith("[")}
    assert headings == set(SECTION_KEYS)


@pytest.mark.parametrize("section", SECTION_KEYS)
def test_every_key_is_documented_in_the_order_of_the_code(section: str) -> None:
    assert list(documented_keys(section)) == list(keys_of(SECTION_KEYS[section]))


ENTRY_START = {"[[prefetch]]": 'repo = "org/name"\n'}
"""What a table of the list cannot be without."""


def faults_of(tmp_path: Path, section: str, key: str, value: str) -> tuple[Config | None, list[str]]:
    """The configuration with one key set, or what is wrong, but for files that are only examples."""
    start = "" if key == "repo" else ENTRY_START.get(section, "")
    file = tmp_path / "config.toml"
    file.write_text(f"{section}\n{start}{key} = {value}\n", encoding="utf-8")
    try:
        return load_config(str(file), environment={}), []
    except ConfigError as error:
        ignored = (
            *("cannot be read", "is not in this version", "lies on another filesystem"),
            "is missing: certificate, key and CA go together",  # as one example they are not
            "can be reached by other hosts",  # without the secret's file, which is another example
        )
        return None, [fault.reason for fault in error.faults if not fault.reason.startswith(ignored)]


@pytest.mark.parametrize("section", SECTION_KEYS)
def test_the_documented_defaults_are_those_of_the_code(section: str, tmp_path: Path) -> None:
    for key, (_, default, _) in documented_keys(section).items():
        field = keys_of(SECTION_KEYS[section])[key]
        if field.required:
            assert default == "required"
        elif field.default is msgspec.NODEFAULT:
            assert (section, key, default) == ("[node]", "name", "the host name")
        elif field.default is None:
            assert default == "as in `[limits]`", key
        elif section.startswith("[["):
            value = tomllib.loads(f"x = {code_in(default)[0]}")["x"]
            assert value == json.loads(msgspec.json.encode(field.default)), key
        else:
            given, faults = faults_of(tmp_path, section, key, code_in(default)[0])
            assert faults == []
            assert given == load_config(environment={}, settings=["node.zone="]), key


@pytest.mark.parametrize("section", SECTION_KEYS)
def test_every_documented_example_is_accepted_and_differs_from_the_default(
    section: str, tmp_path: Path
) -> None:
    for key, (_, default, example) in documented_keys(section).items():
        assert faults_of(tmp_path, section, key, code_in(example)[0])[1] == [], (key, example)
        assert example != default or key == "source"


def test_exactly_the_keys_without_effect_are_marked_as_not_yet() -> None:
    marked = {
        f"{section.strip('[]')}.{key}"
        for section in SECTION_KEYS
        if not section.startswith("[[")
        for key, (meaning, _, _) in documented_keys(section).items()
        if meaning.startswith("not yet")
    }
    for section in ("limits.window", "prefetch"):
        if sections_of("docs/CONFIG.md")[f"[[{section}]]"].strip().startswith("Not yet"):
            marked.add(section)
    assert marked == set(NOT_IN_THIS_VERSION)


# docs/API.md


def test_the_documented_routes_are_those_of_the_daemon() -> None:
    nobody = cast(Any, None)
    app = build_app(
        Ports(*[nobody] * len(Ports.__dataclass_fields__)),
        writable=True,
        token="",
    )
    routes = {
        f"{route.method} {route.resource.canonical}"
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    documented = {heading for heading in sections_of("docs/API.md") if re.match(r"[A-Z]+ /", heading)}
    assert documented == routes


def test_the_documented_problems_are_those_of_the_code() -> None:
    rows = rows_of(sections_of("docs/API.md")["Problems"])
    documented = {code_in(code)[0]: (int(status), int(exit_)) for code, status, exit_ in rows}
    assert documented == {
        code: (errors.HTTP_STATUS[code], errors.EXIT_CODES[code]) for code in errors.EXIT_CODES
    }


@pytest.mark.parametrize("heading", ANSWERS)
def test_an_example_of_an_answer_has_the_fields_of_the_answer(heading: str) -> None:
    (block,) = code_blocks(sections_of("docs/API.md")[heading], "json")
    value = json.loads(block)
    items = value["items"] if set(value) == {"items", "next"} else [value]
    for item in items:
        msgspec.convert(item, ANSWERS[heading])
        assert list(item) == list(ANSWERS[heading].__struct_fields__)


def test_every_example_of_the_api_is_held_to_its_type() -> None:
    with_example = {
        heading for heading, text in sections_of("docs/API.md").items() if code_blocks(text, "json")
    }
    assert with_example == set(ANSWERS)


def test_the_documented_fields_of_a_pull_request_are_those_of_the_code() -> None:
    rows = rows_of(sections_of("docs/API.md")["POST /v1/pulls"])
    assert [code_in(row[0])[0] for row in rows] == list(schema.PullRequest.__struct_fields__)


def test_the_states_of_pulls_and_files_are_listed() -> None:
    code = code_in(sections_of("docs/API.md")["GET /v1/pulls/{id}"])
    assert " ".join(get_args(schema.PullState)) in code
    assert " ".join(get_args(schema.FileState)) in code


# docs/MONITORING.md


def test_the_documented_metrics_are_those_of_the_code() -> None:
    """By name, type and labels."""
    daemon = MemoryDaemon()
    daemon.monitoring.tally.hub_answered(200)
    written = {"counter": "_total", "info": "_info"}
    of_code = {
        family.name + written.get(family.type, ""): (
            family.type,
            sorted({label for sample in family.samples for label in sample.labels} - {"le"}),
        )
        for family in families(daemon.monitoring.figures())
    }
    rows = rows_of(sections_of("docs/MONITORING.md")["Metrics"])
    documented = {code_in(row[0])[0]: (row[1], sorted(code_in(row[2]))) for row in rows}
    assert documented == of_code


# docs/CLI.md


def test_every_command_has_its_heading_and_begins_with_its_sentence() -> None:
    sections = sections_of("docs/CLI.md")
    headings = [heading for heading in sections if heading.startswith("distctl ")]
    assert headings == [f"distctl {name}" for name in COMMANDS]
    for name, sentence in COMMANDS.items():
        begins = " ".join(sections[f"distctl {name}"].split())
        assert begins.startswith(sentence.rstrip(".")), name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_documented(name: str) -> None:
    command = import_module(f"distd.cli.commands.{name}").command
    commands = [command, *(command.commands.values() if isinstance(command, click.Group) else ())]
    options = {
        option
        for each in commands
        for parameter in each.params
        if isinstance(parameter, click.Option)
        for option in parameter.opts
        if option.startswith("--")
    }
    shared = {option for each in shared_options() for option in each.opts}
    code = " ".join(code_in(sections_of("docs/CLI.md")[f"distctl {name}"])).split()
    assert {option for option in options - shared if option not in code} == set()


@pytest.mark.parametrize(
    ("document", "heading"), [("docs/CLI.md", "Exit codes"), ("README.md", "Exit codes of distctl")]
)
def test_the_documented_exit_codes_are_those_of_the_code(document: str, heading: str) -> None:
    rows = rows_of(sections_of(document)[heading])
    codes = {
        value for name, value in vars(errors).items() if name.startswith("EXIT_") and isinstance(value, int)
    }
    assert {int(row[0]) for row in rows} == codes
    assert rows == rows_of(sections_of("docs/CLI.md")["Exit codes"])


# The rest.


def test_the_changelog_has_a_place_for_what_is_not_released() -> None:
    assert "[Unreleased]" in sections_of("CHANGELOG.md")


def test_the_license_is_the_one_that_the_project_names() -> None:
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    assert project["license"] == "Apache-2.0"
    assert text_of("LICENSE").split()[:4] == ["Apache", "License", "Version", "2.0,"]
    assert "Copyright 2026 the distd authors" in text_of("LICENSE")
