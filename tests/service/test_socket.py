"""A socket that the service manager opened: a real daemon serves on it, and leaves it where it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.serving import command
from tests.daemon.daemon import DaemonProcess
from tests.hub import HubProcess

HAND_OVER = """
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
os.dup2(listener.fileno(), 9)
os.dup2(9, 3)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": sys.argv[2].format(pid=os.getpid())}
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Opens the socket, as systemd does, and becomes the daemon."""


def handed(tmp_path: Path, hub: HubProcess, pid: str) -> tuple[DaemonProcess, Path]:
    path = tmp_path / "api.sock"
    wrapper = [sys.executable, "-c", HAND_OVER, str(path), pid]
    return DaemonProcess(tmp_path / "node", hub.url, {"api.socket": path}, wrapper=wrapper), path


def status(path: Path) -> subprocess.CompletedProcess[str]:
    words = command("--socket", str(path), "status")
    return subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)


def test_a_daemon_serves_on_the_socket_it_was_handed_and_leaves_it(hub: HubProcess, tmp_path: Path) -> None:
    daemon, path = handed(tmp_path, hub, "{pid}")
    with daemon:
        before = path.stat().st_ino
        assert "ready" in status(path).stdout
        assert path.stat().st_ino == before
    assert path.is_socket()  # the service manager's to remove


def test_a_socket_meant_for_another_process_is_not_taken(hub: HubProcess, tmp_path: Path) -> None:
    daemon, path = handed(tmp_path, hub, "1")
    # It stays open and answers nobody, but the name is taken.
    with pytest.raises(AssertionError, match="another process answers there"):
        daemon.start()
    assert path.is_socket()
