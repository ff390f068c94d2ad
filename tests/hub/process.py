"""A Hub in a process of its own, steered by plain function calls: for tests that have no event loop or kill daemons."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

CHECKOUT = Path(__file__).parents[2]
CONTROL_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 10.0
POLL_S = 0.02


class HubControlError(Exception):
    """The Hub's process did not start or refused a control call; permanent."""


class HubProcess:
    """`python -m tests.hub`, as a context manager. `repos` maps `[dataset:|space:]org/name` to a directory.

    The remaining keywords are the program's options (`rate=50e6`, `tls_cert=...`, `quota=["api=500"]`), a list
    repeating its option and True setting a flag.
    """

    def __init__(self, repos: Mapping[str, Path] | None = None, **options: Any) -> None:
        self._command = [sys.executable, "-m", "tests.hub"]
        for name, directory in (repos or {}).items():
            self._command += ["--repo", f"{name}={directory}"]
        for option, value in options.items():
            flag = "--" + option.replace("_", "-")
            if value is True:
                self._command.append(flag)
            elif value not in (None, False):
                for item in value if isinstance(value, list) else [value]:
                    self._command += [flag, str(item)]
        self._ports: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.data_url = ""
        self.control_url = ""

    def start(self) -> None:
        """Returns when the Hub answers; a Hub started again has the ports it had, and the repos of the command line.

        HubControlError when it ended instead; its words are on stderr.
        """
        # PYTHONPATH is not needed: -m finds the package in the working directory.
        process = subprocess.Popen([*self._command, *self._ports], stdout=subprocess.PIPE, cwd=CHECKOUT)
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            process.stdout.close()
            raise HubControlError(f"the Hub ended with {process.wait()}: {' '.join(self._command)}")
        self._process = process
        ready = json.loads(line)
        self._ports = [
            f"--port={urlsplit(ready['url']).port}",
            f"--data-port={urlsplit(ready['data_url']).port}",
        ]
        self.url, self.data_url, self.control_url = ready["url"], ready["data_url"], ready["control_url"]

    def stop(self) -> None:
        """SIGTERM, and SIGKILL to one that does not obey. Idempotent."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None

    def kill(self) -> None:
        """SIGKILL: the Hub is gone in the middle of everything, until `start`."""
        assert self._process is not None, "not running"
        self._process.kill()
        self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None, "not running"
        return self._process.pid

    def wait(self) -> int:
        """The exit status of a process that was told to end."""
        assert self._process is not None, "not running"
        return self._process.wait(STOP_TIMEOUT_S)

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
        """Whether the condition came true in time; for what a control call only sets in motion."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        return True

    def counters(self, last: int = 100) -> dict[str, Any]:
        """`body_bytes, body_bytes_by_path, requests, requests_total, token_leaks, streams, max_streams, last`."""
        return self._call("GET", f"counters?last={last}")

    def reset_counters(self) -> None:
        self._call("DELETE", "counters")

    def add_fault(self, name: str, **rule: Any) -> int:
        """As `Faults.add`; returns the rule's id."""
        return int(self._call("POST", "faults", {"name": name, **rule})["id"])

    def faults(self) -> list[dict[str, Any]]:
        """The rules with their `hits`."""
        return list(self._call("GET", "faults")["faults"])

    def clear_faults(self) -> None:
        self._call("DELETE", "faults")

    def add_repo(self, repo_id: str, directory: Path, **options: Any) -> str:
        """As `HubServer.add_repo`, sets being lists; returns the commit id."""
        return str(self._call("POST", "repos", {"id": repo_id, "dir": str(directory), **options})["sha"])

    def change_repo(self, repo_id: str, **changes: Any) -> None:
        """`type` selects; `private gated disabled readers pending tags refs renamed_to` change."""
        self._call("PATCH", "repos", {"id": repo_id, **changes})

    def commit(self, repo_id: str, files: Mapping[str, Path | None], **options: Any) -> str:
        """Adds a commit (`type`, `ref` as options); None deletes a path. Returns the commit id."""
        named = {path: str(file) if file else None for path, file in files.items()}
        return str(self._call("POST", "commits", {"id": repo_id, "files": named, **options})["sha"])

    def add_token(self, token: str, user: str) -> None:
        self._call("POST", "tokens", {"token": token, "user": user})

    def set(self, **settings: Any) -> None:
        """Changes fields of `Settings`: rates, latency, page sizes, URL life."""
        self._call("PATCH", "settings", settings)

    def advance(self, seconds: float) -> None:
        """Moves the Hub's clock."""
        self._call("POST", "clock", {"advance_s": seconds})

    def go_away(self, seconds: float | None = None) -> None:
        """Stops listening, for so long or until `come_back`; the control port stays."""
        self._call("POST", "away", {"seconds": seconds})

    def come_back(self) -> None:
        self._call("DELETE", "away")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _call(self, method: str, route: str, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
        body = None if arguments is None else json.dumps(arguments).encode()
        request = Request(f"{self.control_url}/_hub/{route}", body, method=method)
        request.add_header("Content-Type", "application/json")
        try:
            with urlopen(request, timeout=CONTROL_TIMEOUT_S) as response:
                answer: dict[str, Any] = json.load(response)
        except OSError as error:
            # An HTTPError is also the response, and holds what is wrong.
            detail = error.read().decode() if hasattr(error, "read") else str(error)
            raise HubControlError(f"{method} {route}: {detail}") from error
        return answer
