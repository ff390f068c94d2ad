"""The daemon as a process of its own: started, asked, killed, started again, as a service manager would.

Its log is one file over all starts; `tests/daemon/conftest.py` shows the end of it with a test that fails.
Times are seconds, sizes bytes.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from distd.api.parameters import PULL_ID
from tests.api.described import is_described
from tests.scrape import Scrape

CHECKOUT = Path(__file__).parents[2]
READY_S = 20.0
"""Longest wait for a start. On a busy machine of two cores most of it is importing."""
STOP_S = 12.0
"""The contract allows 10 s from SIGTERM to exit."""
ASK_S = 15.0
PULL_S = 60.0
POLL_S = 0.03
LOG_TAIL_BYTES = 12_000

FINISHED = frozenset({"complete", "failed", "cancelled"})
SERVES = re.compile(r"serves (http://[\d.]+:\d+)")

View = dict[str, Any]
T = TypeVar("T")


class Refused(Exception):
    """The daemon answered with a problem: `status`, and its `code` and `detail`."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(f"{status} {problem.get('code')}: {problem.get('detail')}")
        self.status = status
        self.code = problem.get("code")
        self.detail = str(problem.get("detail"))


class DaemonProcess:
    """`python -m distd` on a state directory of its own; a context manager that starts and stops it.

    `settings` are `--set` words (`{"hub.connections": 2}`). `wrapper` goes before the command and must end by
    executing it. `environment` is added to its own. `token` is what `token_file` holds; write another with
    `set_token`. Without `wait_ready` it has started when it answers, able to serve or not.
    """

    running: ClassVar[list[DaemonProcess]] = []

    def __init__(
        self,
        directory: Path,
        endpoint: str,
        settings: Mapping[str, object] | None = None,
        *,
        token: str = "none",
        wrapper: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        wait_ready: bool = True,
    ) -> None:
        self.directory = directory
        self.state_dir = directory / "state"
        self.log_file = directory / "distd.log"
        self.token_file = directory / "hub-token"
        self.url = ""
        self._endpoint = endpoint
        self._wrapper = wrapper
        self._environment = dict(environment or {})
        self._wait_ready = wait_ready
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        self.state_dir.mkdir(exist_ok=True)
        self.set_token(token)
        self._settings = {
            "node.state_dir": self.state_dir,
            "node.name": "node-1",
            "node.log_level": "debug",
            "hub.endpoint": endpoint,
            "hub.token_file": self.token_file,
            "hub.give_up_after": "5s",
            "cache.min_free_bytes": 0,
            "api.listen": "127.0.0.1:0",
        } | dict(settings or {})

    @property
    def hub_dir(self) -> Path:
        return self.state_dir / "hub"

    @property
    def store_dir(self) -> Path:
        return self.state_dir / "store"

    @property
    def pid(self) -> int:
        assert self._process is not None, "not running"
        return self._process.pid

    def set_token(self, token: str) -> None:
        """Rotates the Hub token; the daemon reads the file at each use."""
        self.token_file.write_text(f"{token}\n")

    def repair(self) -> None:
        """From the next start on it runs without its wrapper."""
        self._wrapper = ()

    def change(self, key: str, value: object) -> None:
        """A setting, from the next start on."""
        self._settings[key] = value

    # Process

    def start(self) -> float:
        """Returns once `/readyz` says yes: the seconds that took. Fails the test with the log when it ends instead."""
        began = time.monotonic()
        seen = self.log_file.stat().st_size if self.log_file.exists() else 0
        words = [f"--set={key}={value}" for key, value in self._settings.items()]
        # Nothing of this user's: no token, no proxy, no HF_HOME.
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.directory), "LANG": "C.UTF-8"}
        environment |= self._environment
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._wrapper, sys.executable, "-m", "distd", *words],
                cwd=CHECKOUT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.running.append(self)
        self.url = until(lambda: self._served_url(seen), "the daemon to serve", READY_S)
        if self._wait_ready:
            until(self._is_ready, "the daemon to be ready", READY_S)
        return time.monotonic() - began

    def _served_url(self, seen: int) -> str | None:
        assert self._process is not None
        found = SERVES.search(self.log(seen))
        if found is None and self._process.poll() is not None:
            raise AssertionError(f"the daemon ended with {self._process.returncode}:\n{self.log(seen)}")
        return found[1] if found else None

    def _is_ready(self) -> bool:
        try:
            self.get("/readyz")
        except (Refused, OSError):
            return False
        return True

    def kill9(self) -> None:
        """SIGKILL to everything it started, at whatever it is doing. Idempotent."""
        if self._process is not None:
            with suppress(ProcessLookupError):  # it ended by itself and was waited for
                os.killpg(self._process.pid, signal.SIGKILL)
            self._gone()

    def ended(self, timeout_s: float = READY_S) -> int:
        """Waits for it to end by itself, or by somebody else's signal; the exit status."""
        assert self._process is not None, "not running"
        self._process.wait(timeout_s)
        return self._gone()

    def terminate(self) -> int:
        """SIGTERM as the service manager sends it; returns the exit status. Idempotent (0 when not running)."""
        if self._process is None:
            return 0
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._gone()
            raise AssertionError(f"the daemon did not stop within {STOP_S:g} s of SIGTERM") from None
        return self._gone()

    def _gone(self) -> int:
        assert self._process is not None
        status = self._process.wait()
        self._process = None
        self.running.remove(self)
        return status

    def restart(self) -> float:
        """Stops it if it runs, and starts it again on the same state; the seconds until it was ready."""
        self.terminate()
        return self.start()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill9()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            status = self.terminate()
            assert status == 0, f"the daemon ended with {status}"
        else:
            self.kill9()

    # What it shows of itself

    def log(self, start: int = 0) -> str:
        with self.log_file.open("rb") as file:
            file.seek(start)
            return file.read().decode(errors="replace")

    def log_tail(self) -> str:
        return self.log(max(0, self.log_file.stat().st_size - LOG_TAIL_BYTES))

    def rss_bytes(self, peak: bool = False) -> int:
        """Resident memory now, or the most there was since the start."""
        name = "VmHWM:" if peak else "VmRSS:"
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {name} in /proc/{self.pid}/status")

    def cpu_s(self) -> float:
        """CPU time used since the start, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    # REST

    def get(self, path: str) -> Any:
        return self.ask("GET", path)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return self.ask("POST", path, body)

    def delete(self, path: str) -> Any:
        return self.ask("DELETE", path)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON answer, None for an empty one. Refused for a problem; OSError when nobody listens."""
        request = Request(self.url + path, json.dumps(body).encode() if body is not None else None)
        request.method = method
        request.add_header("Content-Type", "application/json")
        try:
            with urlopen(request, timeout=ASK_S) as response:
                text = response.read()
        except HTTPError as error:
            with error:
                problem = error.read()
            is_problem = error.headers.get_content_type() == "application/problem+json"
            refused = Refused(error.code, json.loads(problem) if is_problem else {"detail": problem})
            assert is_described(method, path, refused.status, refused.code), f"{method} {path}: {refused}"
            raise refused from None
        try:
            return json.loads(text) if text else None
        except ValueError:
            return text.decode()

    def metrics(self) -> Scrape:
        return Scrape(self.get("/metrics"))

    # Pulls

    def submit(self, repo: str, **request: Any) -> View:
        view: View = self.post("/v1/pulls", {"repo": repo, **request})
        check_view(view)
        return view

    def view(self, pull_id: str) -> View:
        view: View = self.get(f"/v1/pulls/{pull_id}")
        check_view(view)
        return view

    def wait(
        self,
        pull_id: str,
        reached: Callable[[View], bool] = lambda view: view["state"] in FINISHED,
        timeout_s: float = PULL_S,
    ) -> View:
        """The pull's view once `reached` holds. Every view on the way is checked."""

        def look() -> View | None:
            view = self.view(pull_id)
            assert reached(view) or view["state"] not in FINISHED, (
                f"ended {view['state']} before what was waited for: {view['error']}"
            )
            return view if reached(view) else None

        return until(look, f"pull {pull_id}", timeout_s)

    def pull(self, repo: str, timeout_s: float = PULL_S, **request: Any) -> View:
        """Starts a pull and waits for its end, whichever it is."""
        return self.wait(self.submit(repo, **request)["id"], timeout_s=timeout_s)

    def pulled(self, repo: str, timeout_s: float = PULL_S, **request: Any) -> View:
        """As `pull`, for one that has to succeed."""
        view = self.pull(repo, timeout_s, **request)
        assert view["state"] == "complete", view["error"]
        check_complete(view)
        return view

    def story(self, pull_id: str) -> list[View]:
        items: list[View] = self.get(f"/v1/pulls/{pull_id}/story?limit=500")["items"]
        return items

    def events(self, pull_id: str) -> list[str]:
        return [entry["event"] for entry in self.story(pull_id)]


def check_view(view: View) -> None:
    """What holds for every answer about a pull, whatever its state."""
    assert re.fullmatch(PULL_ID, view["id"]), view
    by_source = [view[f"bytes_from_{source}"] for source in ("hub", "peers")] + [view["bytes_reused"]]
    assert min(by_source) >= 0, view
    assert sum(by_source) == view["bytes_done"], f"{by_source} do not add up to {view['bytes_done']}"
    assert view["bytes_total"] is None or view["bytes_done"] <= view["bytes_total"], view
    assert (view["error"] is not None) == (view["state"] == "failed"), view
    assert (view["snapshot_path"] is not None) == (view["state"] == "complete"), view
    assert (view["finished_at"] is not None) == (view["state"] in FINISHED), view


def check_complete(view: View) -> None:
    assert view["bytes_done"] == view["bytes_total"], view
    assert view["files_done"] == view["files_total"] == len(view["files"]), view
    assert {file["state"] for file in view["files"]} == {"verified"}, view
    assert sum(file["size"] for file in view["files"]) == view["bytes_total"], view


def until(look: Callable[[], T | None], what: str, timeout_s: float = 10.0, poll_s: float = POLL_S) -> T:
    """What `look` returns once it is neither None nor False. Fails after `timeout_s`."""
    give_up_at = time.monotonic() + timeout_s
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        assert time.monotonic() < give_up_at, f"waited {timeout_s:g} s in vain for {what}"
        time.sleep(poll_s)
