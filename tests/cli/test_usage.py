"""Reaching the daemon, wrong usage, and the exit code of each."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from distd.api.schema import PullState, Weights
from distd.cli.commands.pulls import STATES
from distd.cli.main import COMMANDS
from distd.cli.main import distctl as group
from distd.cli.selection import WEIGHTS
from distd.cli.target import BadTarget, choose_target
from tests.cli.serving import ServedDaemon, distctl

CONTROL_CHARACTERS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def test_the_daemon_is_reached_over_tcp_by_flag_and_by_environment(daemon: ServedDaemon) -> None:
    assert distctl(None, "--url", daemon.url, "status", "-q").stdout == "ready\n"
    assert distctl(None, "status", "-q", env={"DISTD_URL": daemon.url + "/"}).stdout == "ready\n"
    assert distctl(None, "status", "-q", "--socket", daemon.socket).stdout == "ready\n"


def test_the_token_comes_from_the_environment(tmp_path: Path) -> None:
    served = ServedDaemon(tmp_path, token="s3cret")
    try:
        ran = distctl(None, "--url", served.url, "status")
        assert ran.returncode == 5
        assert "DISTD_TOKEN" in ran.stderr
        assert distctl(None, "--url", served.url, "status", env={"DISTD_TOKEN": "s3cret\n"}).returncode == 0
    finally:
        served.close()


def test_a_flag_wins_over_the_environment_and_two_addresses_are_refused(tmp_path: Path) -> None:
    environment = {"DISTD_SOCKET": "/env.sock", "DISTD_URL": "http://env:1"}
    assert choose_target(None, None, environment).socket == "/env.sock"
    assert str(choose_target("http://[::1]:7070/x/", None, environment)) == "http://[::1]:7070/x"
    assert choose_target(None, "/flag.sock", environment).socket == "/flag.sock"
    with pytest.raises(BadTarget, match="two daemons"):
        choose_target("http://a", "/b", {})


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x",
        "localhost:7070",
        "http://",
        "http://x:port",
        "http://x/a b",
        "http://x/\r\nA: b",
        "http://[",
    ],
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(BadTarget):
        choose_target(url, None, {})


def test_a_token_cannot_smuggle_headers() -> None:
    with pytest.raises(BadTarget):
        choose_target(None, "/x", {"DISTD_TOKEN": "a\r\nX: b"})


def test_no_daemon_is_exit_code_3_with_what_to_do(tmp_path: Path) -> None:
    for where in (["--socket", str(tmp_path / "none")], ["--url", "http://127.0.0.1:1"]):
        ran = distctl(None, *where, "pull", "acme/tiny")
        assert (ran.returncode, ran.stdout) == (3, "")
        assert "is distd running" in ran.stderr


@pytest.fixture
def other_service() -> Iterator[str]:
    """Something else on the port: it answers every connection with bytes that are not distd's."""
    listener = socket.create_server(("127.0.0.1", 0))
    answers = [b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi", b"SSH-2.0-x\r\n"]

    def answer() -> None:
        for raw in answers:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(raw)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    thread.join(5)
    listener.close()


def test_another_service_on_the_port_is_recognised(other_service: str) -> None:
    for says in ("not as distd does (HTTP 200)", "does not speak HTTP"):
        ran = distctl(None, "--url", other_service, "status")
        assert ran.returncode == 3
        assert says in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "Usage: distctl"),
        (["pul"], "Did you mean pull"),
        (["frobnicate"], "No such command 'frobnicate'."),
        (["config", "chek"], "Did you mean check?"),
        (["pull"], "Missing argument"),
        (["pull", "acme/tiny", "--wieghts", "all"], "--weights"),
        (["pull", "acme/tiny", "--weights", "best"], "'safetensors'"),
        (["pull", "acme/tiny", "--priority", "101"], "-100<=x<=100"),
        (["pull", "acme/\x1b]0;owned\x07"], "is not a repo name"),
        (["\x1b[31mpull"], "No such command"),
        (["path", "a/b@"], "no revision after '@'"),
        (["show"], "Missing argument"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_never_a_control_character(arguments: list[str], says: str) -> None:
    ran = distctl(None, *arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert says in ran.stderr
    assert not CONTROL_CHARACTERS.search(ran.stderr)


def test_a_bug_is_one_line_unless_debugging(daemon: ServedDaemon) -> None:
    daemon.memory.node.status = dict  # type: ignore[method-assign, assignment]  # a daemon that answers nonsense
    ran = distctl(daemon, "status")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.count("\n") == 1
    assert "please report this" in ran.stderr
    assert "Traceback" in distctl(daemon, "status", env={"DISTD_DEBUG": "1"}).stderr


def test_an_output_that_knows_only_ascii_gets_escapes(daemon: ServedDaemon) -> None:
    daemon.memory.node.unready = ["größer"]
    ran = distctl(daemon, "doctor", env={"PYTHONIOENCODING": "ascii"})
    assert r"gr\xf6\xdfer" in ran.stdout


def test_the_help_needs_no_heavy_import() -> None:
    script = (
        "import sys\n"
        "from distd.cli.main import distctl\n"
        f"distctl.main({['--help']!r}, prog_name='distctl', standalone_mode=False)\n"
        "heavy = {'aiohttp', 'rich', 'huggingface_hub', 'msgspec', 'http.client', 'asyncio', 'ssl'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
    )
    assert "Usage: distctl" in ran.stdout
    assert ran.stderr == "[]\n"


def test_no_command_needs_a_heavy_import_to_start() -> None:
    names = [f"distd.cli.commands.{name}" for name in COMMANDS]
    script = (
        "import sys\nfrom importlib import import_module\n"
        f"for name in {names!r}: import_module(name)\n"
        "print(sorted({'aiohttp', 'rich', 'huggingface_hub', 'msgspec', 'asyncio'} & set(sys.modules)))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
    )
    assert ran.stdout == "[]\n"


def test_the_commands_of_the_help_are_the_modules_that_exist() -> None:
    import distd.cli.commands

    (folder,) = distd.cli.commands.__path__
    assert {file.stem for file in Path(folder).glob("[a-z]*.py")} == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_commands_own_help_begins_as_in_the_list_and_ends_with_examples(name: str) -> None:
    context = group.make_context("distctl", [name], resilient_parsing=True)
    found = group.get_command(context, name)  # type: ignore[attr-defined]  # it is a Group
    assert found is not None
    assert (found.help or "").splitlines()[0] == COMMANDS[name]
    assert f"distctl {name}" in (found.epilog or "")
    names = {option for parameter in found.params for option in parameter.opts}
    assert {"--url", "--socket", "--json", "--quiet"} <= names


def test_choices_are_those_of_the_api() -> None:
    assert get_args(Weights) == WEIGHTS
    assert get_args(PullState) == STATES


def test_the_scheduler_is_loaded_by_the_first_schedule_and_not_before() -> None:
    script = (
        "import sys, distd.main, distd.cli.commands.prefetch; loaded = 'apscheduler' in sys.modules;"
        "from distd.schedule import cron_fires; cron_fires('0 3 * * *');"
        "print(loaded, 'apscheduler' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "False True\n"
