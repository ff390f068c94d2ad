"""What the service manager hears: a real daemon on a real socket, and a loop that is held."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from itertools import pairwise
from pathlib import Path

import pytest

from distd.service_manager import ServiceManager
from tests.daemon.daemon import DaemonProcess
from tests.hub import HubProcess
from tests.service.manager import FakeManager

WATCHDOG_S = 0.6


async def idle() -> str:
    return "idle"


def test_a_daemon_tells_ready_alive_reloading_and_stopping_in_this_order(
    hub: HubProcess, tmp_path: Path, manager: FakeManager
) -> None:
    daemon = DaemonProcess(
        tmp_path, hub.url, {"node.log_level": "info"}, environment=manager.environment, wait_ready=False
    )
    with daemon:
        assert manager.listen(lambda: manager.values("READY") == ["1"], 10)
        assert daemon.get("/readyz") == "ready\n"  # at once: it was ready when it said so
        assert manager.listen(lambda: "0 active pulls, hub 0 B/s, peers 0 B/s" in manager.values("STATUS"), 5)

        assert manager.listen(lambda: len(manager.values("WATCHDOG")) >= 6, 10)
        signs = manager.moments("WATCHDOG")
        gaps = [later - earlier for earlier, later in pairwise(signs)]
        assert max(gaps) < WATCHDOG_S, gaps

        began = time.monotonic_ns() // 1000
        os.kill(daemon.pid, signal.SIGHUP)
        assert manager.listen(lambda: len(manager.values("READY")) == 2, 5)
        (told,) = (found for _, found in manager.heard if "RELOADING" in found)
        assert began <= int(told["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
        assert manager.moments("RELOADING")[0] < manager.moments("READY")[1]

        os.kill(daemon.pid, signal.SIGSTOP)
        manager.drain()
        before = len(manager.heard)
        manager.listen(lambda: False, 2 * WATCHDOG_S)
        os.kill(daemon.pid, signal.SIGCONT)
        assert manager.heard[before:] == []  # silence for longer than the manager allows: it would end it
        assert manager.listen(lambda: "WATCHDOG" in manager.heard[-1][1], 5)

        assert manager.values("STOPPING") == []
        assert daemon.terminate() == 0
    assert manager.listen(lambda: manager.values("STOPPING") == ["1"], 1)
    assert "STATUS" not in manager.heard[-1][1] or manager.heard[-1][1]["STATUS"] == "stopping"


def test_a_daemon_that_cannot_read_its_new_configuration_is_ready_again_and_unchanged(
    hub: HubProcess, tmp_path: Path, manager: FakeManager
) -> None:
    file = tmp_path / "config.toml"
    file.write_text("")
    environment = manager.environment | {"DISTD_CONFIG": str(file)}
    with DaemonProcess(tmp_path / "node", hub.url, environment=environment) as daemon:
        file.write_text("[node]\nnam = 7\n")
        os.kill(daemon.pid, signal.SIGHUP)
        assert manager.listen(lambda: len(manager.values("READY")) == 2, 5)
        assert "reload failed, nothing changed" in daemon.log()
        assert daemon.get("/v1/status")["node"] == "node-1"


async def test_a_held_loop_gives_no_sign_of_life_while_threads_go_on(manager: FakeManager) -> None:
    telling = ServiceManager(manager.environment)
    task = asyncio.create_task(telling.report(idle))
    busy = asyncio.get_running_loop().run_in_executor(None, time.sleep, 4 * WATCHDOG_S)
    await asyncio.sleep(0.1)
    manager.drain()
    assert manager.values("WATCHDOG") == ["1"]
    time.sleep(2 * WATCHDOG_S)  # noqa: ASYNC251  # a callback that blocks is what is tested
    manager.drain()
    assert manager.values("WATCHDOG") == ["1"]
    await asyncio.sleep(0.05)
    manager.drain()
    assert manager.values("WATCHDOG") == ["1", "1"]
    task.cancel()
    await busy


async def test_a_status_that_hangs_on_a_disk_stops_no_sign_of_life(manager: FakeManager) -> None:
    async def hangs() -> str:
        await asyncio.sleep(60)
        return ""

    task = asyncio.create_task(ServiceManager(manager.environment).report(hangs))
    await asyncio.sleep(2 * WATCHDOG_S)
    manager.drain()
    assert len(manager.values("WATCHDOG")) >= 3
    task.cancel()


async def test_without_a_manager_nothing_is_sent_and_the_report_ends() -> None:
    alone = ServiceManager({})
    assert alone.watchdog_s is None
    alone.ready()
    alone.reloading()
    alone.stopping()
    await asyncio.wait_for(alone.report(idle), 1)


async def test_a_manager_that_does_not_watch_hears_status_only(tmp_path: Path) -> None:
    with FakeManager(tmp_path / "notify") as manager:
        task = asyncio.create_task(ServiceManager(manager.environment).report(idle))
        await asyncio.sleep(0.05)
        manager.drain()
        assert [found for _, found in manager.heard] == [{"STATUS": "idle"}]
        task.cancel()


def test_a_watchdog_meant_for_another_process_is_not_ours() -> None:
    variables = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "60000000"}
    assert ServiceManager(variables).watchdog_s == 60
    assert ServiceManager(variables | {"WATCHDOG_PID": str(os.getpid())}).watchdog_s == 60
    assert ServiceManager(variables | {"WATCHDOG_PID": "1"}).watchdog_s is None
    assert ServiceManager({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "0"}).watchdog_s is None
    assert ServiceManager({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "soon"}).watchdog_s is None


def test_the_socket_may_be_abstract() -> None:
    name = f"distd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        listener.settimeout(2)
        ServiceManager({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert listener.recv(100) == b"READY=1"


def test_a_manager_that_is_gone_is_logged_and_harms_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()
    assert "the service manager cannot be told READY=1" in caplog.text
