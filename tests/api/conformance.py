"""Schemathesis against a daemon with content: asks all that `openapi.json` describes, well and badly formed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from tests.api.described import route_of

CHECKOUT = Path(__file__).parents[2]
MISSING = "Schemathesis is not installed: make setup"
IS_HERE = find_spec("schemathesis") is not None

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
)
REQUEST_TIMEOUT_S = 30
"""A request that is not answered by then is a failure; on a busy machine a few take seconds."""
KNOWN = 0.7
"""The share of cases with words that lead somewhere; the others lead nowhere, or are no words at all."""

Words = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of it: the program's words, and per operation how often which status was answered."""

    status: int
    output: str
    answered: Mapping[str, Counter[int]]

    @property
    def cases(self) -> int:
        return sum(sum(each.values()) for each in self.answered.values())


def config(words: Mapping[str, Words]) -> str:
    """TOML. `words`: beginning of a path, or a route's name -> parameter (`path.id`) -> values that lead somewhere there."""
    lines = ["max-stream-events = 1", f"request-timeout = {REQUEST_TIMEOUT_S}"]
    lines += ['hooks = "tests.api.conformance_hooks"', "[cache]", "enabled = false"]
    named = {
        (begin, parameter): f"words-{number}"
        for number, (begin, parameter) in enumerate((b, p) for b, known in words.items() for p in known)
    }
    for (begin, parameter), name in named.items():
        lines += [f"[dictionaries.{name}]", f"values = {json.dumps(list(words[begin][parameter]))}"]
    # Left out, a wait for what nobody has takes its default of half a minute.
    lines += ["[[operations]]", 'include-path-regex = "/wait$"', 'parameters = {"query.timeout" = "0s"}']
    # Of several that fit, the first counts: a route's own words before those of all below a path.
    for begin, known in sorted(words.items(), key=lambda each: " " not in each[0]):
        of = f'include-name = "{begin}"' if " " in begin else f'include-path-regex = "^{begin}"'
        lines += ["[[operations]]", of, "[operations.parameters]"]
        lines += [
            f'"{parameter}" = {{dictionary = "{named[begin, parameter]}", probability = {KNOWN}}}'
            for parameter in known
        ]
    return "\n".join(lines) + "\n"


def run(url: str, directory: Path, words: Mapping[str, Words], *options: str, archive: Path) -> Ran:
    """`options` are those of `schemathesis run`: phases, number of examples, seed. `archive`: an export, to import."""
    directory.mkdir(exist_ok=True)
    settings, report = directory / "schemathesis.toml", directory / "report.har"
    settings.write_text(config(words))
    command = [sys.executable, "-m", "schemathesis.cli", "--no-color", f"--config-file={settings}"]
    command += ["run", f"{url}/openapi.json", f"--checks={','.join(CHECKS)}", "--warnings=off"]
    command += ["--report=har", f"--report-har-path={report}", "--generation-database=none", *options]
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "LANG": "C.UTF-8"}
    ended = subprocess.run(
        command,
        cwd=CHECKOUT,
        env=environment | {"CONFORMANCE_ARCHIVE": str(archive)},
        capture_output=True,
        text=True,
    )
    return Ran(ended.returncode, ended.stdout + ended.stderr, _answered(report))


def _answered(report: Path) -> dict[str, Counter[int]]:
    found: defaultdict[str, Counter[int]] = defaultdict(Counter)
    if report.exists():
        for entry in json.loads(report.read_text())["log"]["entries"]:
            path = urlsplit(entry["request"]["url"]).path
            found[f"{entry['request']['method']} {path}"][entry["response"]["status"]] += 1
    return found


def by_route(answered: Mapping[str, Counter[int]]) -> dict[str, Counter[int]]:
    """Per route (`"GET /v1/pulls/{id}"`) instead of per path."""
    found: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for asked, statuses in answered.items():
        method, _, path = asked.partition(" ")
        found[route_of(method, path) or "none"].update(statuses)
    return found
