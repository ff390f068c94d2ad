"""A real Prometheus beside the daemons: it scrapes them each half second, and answers queries."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

from tests.daemon.daemon import until

PROGRAM = shutil.which("prometheus")
MISSING = "no Prometheus on this machine: apt install prometheus"
START_S = 30.0


class Prometheus:
    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The result's samples. AssertionError with Prometheus' word when it does not understand the query."""
        try:
            with urlopen(f"{self.url}/api/v1/query?{urlencode({'query': expr})}", timeout=10) as response:
                answer = json.load(response)
        except HTTPError as error:
            with error:
                raise AssertionError(f"{expr}: {error.read().decode()}") from None
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def is_ready(self) -> bool:
        try:
            with urlopen(f"{self.url}/-/ready", timeout=2):
                return True
        except OSError:
            return False


@contextmanager
def prometheus(directory: Path, targets: Sequence[str]) -> Iterator[Prometheus]:
    """Scrapes `targets` (`host:port`) as the job `distd`."""
    assert PROGRAM, MISSING
    directory.mkdir()
    static = json.dumps([{"targets": list(targets)}])
    config = directory / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 500ms, scrape_timeout: 500ms}\n"
        f"scrape_configs: [{{job_name: distd, static_configs: {static}}}]\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        PROGRAM,
        f"--config.file={config}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    log = directory / "log"
    with log.open("wb") as stream, subprocess.Popen(command, stdout=stream, stderr=stream) as process:
        try:
            running = Prometheus(f"http://127.0.0.1:{port}")

            def ready() -> bool:
                assert process.poll() is None, log.read_text()
                return running.is_ready()

            until(ready, "Prometheus to start", START_S)
            yield running
        finally:
            process.terminate()
