"""The rules of the architecture, as data, held against every module; each is tried on a planted violation."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("distd", "peers")
LINES_MAX = 450
"""A file holds one idea; what grows beyond this holds two."""


@dataclass(frozen=True)
class Only:
    """`importers` (paths, `*` for any part) may import these and nothing else."""

    importers: str
    allowed: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Sole:
    """`module` is imported by `importers` and nowhere else."""

    module: str
    importers: tuple[str, ...]
    reason: str
    besides: tuple[str, ...] = ()
    """Parts of it that anybody may import."""


@dataclass(frozen=True)
class Never:
    """`importers` do not import `module`."""

    importers: str
    module: str
    reason: str


RULES: tuple[Only | Sole | Never, ...] = (
    Only(
        "distd/core/*",
        (
            *("__future__", "bisect", "collections", "dataclasses", "enum", "fnmatch", "functools", "heapq"),
            *(
                "itertools",
                "math",
                "random.Random",
                "re",
                *(f"datetime.{name}" for name in ("UTC", "date", "datetime", "time", "timedelta", "tzinfo")),
                "typing",
                "distd.core",
                "distd.errors",
                "distd.units",
            ),
        ),
        "what decides touches nothing: no clock, disk, network, logging or unseeded chance",
    ),
    Only(
        "distd/units.py",
        ("__future__", "fractions", "math", "re"),
        "the core uses it, so it is as pure as the core",
    ),
    Only(
        "distd/errors.py",
        ("__future__", "dataclasses", "typing", "distd.units"),
        "the core uses it, so it is as pure as the core",
    ),
    Only(
        "distd/redaction.py",
        ("__future__", "collections", "re"),
        "what hides secrets is tried on texts alone",
    ),
    Sole(
        "libtorrent",
        ("peers/engine.py", "peers/session.py", "peers/alerts.py", "peers/settings.py"),
        "its objects die with the next pop_alerts and its calls block: they stay behind the engine",
    ),
    Sole("huggingface_hub", ("distd/hub/*",), "the rest of the program knows our manifests, not its classes"),
    Sole("apscheduler", ("distd/schedule.py",), "one library, one importer"),
    Sole(
        "prometheus_client",
        ("distd/api/metrics.py",),
        "the program counts in plain numbers; one library, one importer",
    ),
    Sole(
        "aiohttp_sse",
        ("distd/api/event_routes.py",),
        "event streams are one resource; one library, one importer",
    ),
    Sole("click", ("distd/cli/*", "distd/main.py"), "only programs have a command line"),
    Sole("rich", ("distd/cli/*",), "only distctl draws on a terminal"),
    Sole(
        "aiohttp",
        ("distd/api/*", "distd/hub/*", "distd/main.py", "peers/cluster*.py"),
        "HTTP is spoken at the borders: to clients, to the Hub and between daemons",
    ),
    Sole(
        "cryptography",
        ("peers/tls.py", "peers/certificates.py"),
        "certificates are made and judged in two places; the rest sees PEM",
    ),
    Sole(
        "xxhash",
        ("distd/store/*", "distd/sharing/*", "peers/*"),
        "piece digests belong to the store and the swarm",
    ),
    Sole("sqlite3", ("distd/state/*",), "SQL stays behind the tables"),
    Sole(
        "peers",
        ("peers/*", "distd/main.py", "distd/sharing/*"),
        "distd meets the swarm in one joining package; only the vocabulary of pieces is shared",
        besides=("peers.pieces",),
    ),
    Never("peers/*", "distd", "the swarm is usable and testable without the daemon"),
    Never("distd/*", "libtorrent", "distd knows pieces and peers, not BitTorrent"),
    Never("peers/*", "huggingface_hub", "the swarm does not know where content first came from"),
    Never("distd/store/*", "distd.hub", "the store keeps bytes, wherever they come from"),
    Never("distd/hub/*", "distd.store", "the Hub client hands bytes on, wherever they go"),
    Never("distd/cli/*", "distd.pulls", "distctl knows the daemon by its API alone"),
    Never("distd/cli/*", "distd.store", "distctl knows the daemon by its API alone"),
)

PRINTERS = ("distd/cli/*", "distd/main.py")
"""Who may print: a daemon logs."""


def modules() -> dict[str, str]:
    """Path below the root -> source, of every module of the program."""
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
    }


def imports(path: str, source: str) -> Iterator[str]:
    """Full names of what is imported, anywhere in the module; `from a import b` is `a.b`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = path.removesuffix(".py").split("/")[: -node.level] if node.level else []
            base = ".".join([*parents, *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def is_part(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")


def is_one_of(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def import_faults(path: str, source: str) -> list[str]:
    faults = []
    for name in imports(path, source):
        for rule in RULES:
            match rule:
                case Only(importers, allowed):
                    broken = fnmatchcase(path, importers) and not any(is_part(name, part) for part in allowed)
                case Sole(module, importers, _, besides):
                    free = any(is_part(name, part) for part in besides)
                    broken = is_part(name, module) and not free and not is_one_of(path, importers)
                case Never(importers, module):
                    broken = fnmatchcase(path, importers) and is_part(name, module)
            if broken:
                faults.append(f"{path} imports {name}: {rule.reason}")
    return faults


def length_faults(path: str, source: str) -> list[str]:
    lines = source.count("\n")
    return [f"{path} has {lines} lines, more than {LINES_MAX}"] if lines > LINES_MAX else []


def docstring_faults(path: str, source: str) -> list[str]:
    return [] if ast.get_docstring(ast.parse(source)) else [f"{path} does not say what it is for"]


def clock_faults(path: str, source: str) -> list[str]:
    """The core may reckon with dates; it may not ask for today's."""
    if not fnmatchcase(path, "distd/core/*"):
        return []
    return [
        f"{path}:{node.lineno} reads the clock: time is an argument"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and node.attr in ("now", "utcnow", "today")
    ]


def print_faults(path: str, source: str) -> list[str]:
    if is_one_of(path, PRINTERS):
        return []
    return [
        f"{path}:{node.lineno} prints: a daemon logs"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]


CHECKS: tuple[Callable[[str, str], list[str]], ...] = (
    import_faults,
    length_faults,
    docstring_faults,
    clock_faults,
    print_faults,
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_module_keeps_the_rules(check: Callable[[str, str], list[str]]) -> None:
    found = modules()
    assert len(found) > 50
    assert [fault for path, source in found.items() for fault in check(path, source)] == []


def test_the_core_imports_of_the_standard_library_only_what_is_named_there() -> None:
    (rule,) = (rule for rule in RULES if isinstance(rule, Only) and rule.importers == "distd/core/*")
    for name in rule.allowed:
        top = name.partition(".")[0]
        assert top in sys.stdlib_module_names or top == "distd"


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("distd/core/desk.py", "import asyncio"),
        ("distd/core/desk.py", "import os"),
        ("distd/core/desk.py", "def now():\n    import time"),
        ("distd/core/desk.py", "import logging"),
        ("distd/core/desk.py", "import random"),
        ("distd/core/desk.py", "from random import random"),
        ("distd/core/desk.py", "import msgspec"),
        ("distd/core/desk.py", "from distd.store import blobs"),
        ("distd/core/desk.py", "from distd import store"),
        ("distd/core/desk.py", "from ..store import blobs"),
        ("distd/units.py", "import os"),
        ("distd/errors.py", "from distd.core import refs"),
        ("distd/redaction.py", "import logging"),
        ("distd/main.py", "import libtorrent as lt"),
        ("peers/lead.py", "import libtorrent"),
        ("distd/pulls/planner.py", "from huggingface_hub.hf_api import RepoFile"),
        ("peers/engine.py", "import huggingface_hub"),
        ("distd/main.py", "from apscheduler.schedulers.asyncio import AsyncIOScheduler"),
        ("distd/pulls/service.py", "from prometheus_client import Counter"),
        ("distd/api/server.py", "from aiohttp_sse import sse_response"),
        ("distd/api/server.py", "import click"),
        ("distd/api/server.py", "from rich.table import Table"),
        ("distd/store/blobs.py", "import aiohttp"),
        ("distd/hub/fetcher.py", "import xxhash"),
        ("peers/session.py", "from cryptography import x509"),
        ("distd/pulls/service.py", "import sqlite3"),
        ("distd/pulls/service.py", "from peers.engine import Engine"),
        ("distd/pulls/service.py", "import peers"),
        ("peers/lead.py", "from distd.units import format_size"),
        ("distd/store/blobs.py", "from distd.hub.fetcher import Fetcher"),
        ("distd/hub/fetcher.py", "from distd.store.blobs import BlobStore"),
        ("distd/cli/main.py", "from distd.pulls import service"),
        ("distd/cli/main.py", "import distd.store.blobs"),
    ],
)
def test_a_planted_import_is_found(path: str, source: str) -> None:
    faults = import_faults(path, source)
    assert faults
    assert all(fault.startswith(f"{path} imports ") for fault in faults)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("distd/core/desk.py", "from random import Random\nfrom distd.core.faults import FetchFault"),
        ("distd/core/desk.py", "from collections.abc import Iterable"),
        ("peers/session.py", "import libtorrent as lt"),
        ("distd/hub/resolver.py", "from huggingface_hub import HfApi"),
        ("distd/schedule.py", "import apscheduler"),
        ("distd/cli/commands/pull.py", "import click\nfrom rich.table import Table"),
        ("distd/pulls/service.py", "from peers.pieces import piece_length_bytes"),
        ("distd/sharing/driver.py", "from peers.swarm import Swarm"),
        ("distd/store/hashing.py", "import xxhash"),
        ("distd/api/server.py", "import richness, peersonal"),
    ],
)
def test_what_the_rules_allow_is_no_fault(path: str, source: str) -> None:
    assert import_faults(path, source) == []


def test_every_rule_is_tripped_by_some_planted_import() -> None:
    planted = test_a_planted_import_is_found.pytestmark[0].args[1]  # type: ignore[attr-defined]  # set by parametrize
    told = "\n".join(fault for path, source in planted for fault in import_faults(path, source))
    assert [rule for rule in RULES if rule.reason not in told] == []


def test_a_planted_length_silence_clock_or_print_is_found() -> None:
    assert clock_faults("distd/core/limits.py", "datetime.now(UTC)") == [
        "distd/core/limits.py:1 reads the clock: time is an argument"
    ]
    assert clock_faults("distd/limits.py", "datetime.now(UTC)") == []
    assert length_faults("distd/x.py", "\n" * LINES_MAX) == []
    assert length_faults("distd/x.py", "\n" * (LINES_MAX + 1))
    assert docstring_faults("distd/x.py", "import os") == ["distd/x.py does not say what it is for"]
    assert print_faults("distd/node.py", 'def f():\n    print("x")') == [
        "distd/node.py:2 prints: a daemon logs"
    ]
    assert print_faults("distd/cli/output.py", 'print("x")') == []
    assert print_faults("distd/node.py", "_print(report)\nconsole.print(report)") == []
