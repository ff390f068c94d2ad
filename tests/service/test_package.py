"""The Debian package in a root of its own: installed, run, upgraded, removed, purged. `make packagetest` runs it."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from peers import secret
from tests.daemon.daemon import DaemonProcess, until
from tests.daemon.repos import MIB, Repos, assert_same_files
from tests.hub import HubProcess, ModelSpec, generate
from tests.service.booted import Booted, can_boot
from tests.service.fresh_root import FreshRoot

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def package() -> Path:
    subprocess.run(["make", "deb"], cwd=CHECKOUT, check=True, timeout=600)
    (built,) = (CHECKOUT / "dist").glob("distd_*.deb")
    return built


@pytest.fixture(scope="module")
def newer(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of a higher version."""
    directory = tmp_path_factory.mktemp("newer")
    subprocess.run(["dpkg-deb", "-R", package, directory / "root"], check=True, timeout=60)
    control = directory / "root/DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: .*", "Version: 99.0", control.read_text()))
    # As if the new version's default configuration differed: the operator's has to stay.
    with (directory / "root/etc/distd/config.toml").open("a") as file:
        file.write("# a new comment\n")
    built = directory / "newer.deb"
    subprocess.run(["dpkg-deb", "-Znone", "-b", directory / "root", built], check=True, timeout=60)
    return built


@pytest.fixture(scope="module")
def root(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FreshRoot]:
    with FreshRoot(tmp_path_factory.mktemp("fresh")) as root:
        told = root.install(package)
        assert "Creating user 'distd'" in told.stdout + told.stderr
        yield root


def names(root: FreshRoot, file: str) -> dict[str, int]:
    """Name -> number, of the root's users or groups."""
    lines = (root.path / "etc" / file).read_text().splitlines()
    return {line.split(":")[0]: int(line.split(":")[2]) for line in lines}


def test_the_environment_knows_nothing_of_where_it_was_built(root: FreshRoot) -> None:
    found = root.run("grep", "-rIl", str(CHECKOUT), "/opt/distd/venv", "--include=*", check=False)
    assert [name for name in found.stdout.split() if not name.endswith(("RECORD", "direct_url.json"))] == []
    assert root.run("readlink", "-f", "/opt/distd/venv/bin/python").stdout.startswith("/usr/bin/python3")
    version = root.run("distctl", "--version").stdout
    assert version == root.run("distd", "--version").stdout.replace("distd, version", "distctl")


def test_the_unit_is_enabled_and_the_cache_belongs_to_the_readers_group(root: FreshRoot) -> None:
    assert (root.path / "etc/systemd/system/multi-user.target.wants/distd.service").is_symlink()
    found = (root.path / "var/lib/distd").stat()
    assert stat.S_IMODE(found.st_mode) == 0o2750
    assert (found.st_uid, found.st_gid) == (names(root, "passwd")["distd"], names(root, "group")["models"])
    assert root.run("distd", "--check").stdout == "the configuration is valid\n"
    unit = root.run("cat", "/usr/lib/systemd/system/distd.service").stdout
    (guide,) = re.findall(r"^Documentation=file://(.*)$", unit, re.MULTILINE)
    assert root.run("head", "-1", guide).stdout == "# Operations\n"


def test_it_pulls_as_its_user_and_only_the_group_reads(
    root: FreshRoot, hub: HubProcess, tmp_path_factory: pytest.TempPathFactory
) -> None:
    uid, gid = names(root, "passwd")["distd"], names(root, "group")["models"]
    repo = Repos(hub, tmp_path_factory.mktemp("repos")).make(weight_mib=4)
    home = root.path / "var/lib/distd"
    as_service = root.inside(
        *("setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "sh", "-c"),
        # What comes is the checkout's interpreter, `-m`, `distd`, and then the settings.
        'umask 0027; shift 3; exec /opt/distd/venv/bin/distd "$@"',
        "sh",
    )
    settings = {"node.state_dir": "/var/lib/distd", "hub.token_file": ""}
    with DaemonProcess(tmp_path_factory.mktemp("daemon"), hub.url, settings, wrapper=[*as_service]) as daemon:
        pulled = root.run("distctl", "--url", daemon.url, "pull", "--quiet", repo.id)
        snapshot = root.path / pulled.stdout.strip().lstrip("/")
        assert snapshot.is_relative_to(home)
        for path in (home / "hub").rglob("*"):
            found = path.lstat()
            if stat.S_ISLNK(found.st_mode):
                continue
            assert (found.st_uid, found.st_gid) == (uid, gid), path
            mode = stat.S_IMODE(found.st_mode)
            # Its group reads and does not write, nobody else does either; a directory hands its group on.
            assert mode == 0o2750 if path.is_dir() else mode in (0o440, 0o640), f"{path}: {mode:o}"
    for groups, expected in ((f"--groups={gid}", "readable\n"), ("--clear-groups", "")):
        reader = ["setpriv", "--reuid=2001", "--regid=2001", groups]
        read = root.run(
            *reader, "sh", "-c", f"cat {pulled.stdout.strip()}/* > /dev/null && echo readable", check=False
        )
        assert read.stdout == expected
    written = root.run(
        *("setpriv", "--reuid=2001", "--regid=2001", f"--groups={gid}"),
        *("sh", "-c", f"touch {pulled.stdout.strip()}/x /var/lib/distd/hub/x /var/lib/distd/x"),
        check=False,
    )
    assert written.stderr.count("Permission denied") == 3


HUB = "http://127.0.0.1:8090"
OF_THE_TEST = f"""[Service]
WatchdogSec=2s
RestartSec=100ms
TimeoutAbortSec=5s
Environment=DISTD_HUB__ENDPOINT={HUB} DISTD_CLUSTER__NAME=fleet DISTD_CACHE__SCRUB_INTERVAL=2s
"""


@pytest.fixture(scope="module")
def system(root: FreshRoot) -> Iterator[Booted]:
    """systemd booted with the package installed: a token and a cluster's secret as the operator puts them there."""
    for name, content in (("hf-token", "hf_of_the_operator"), ("cluster-secret", secret.generate())):
        file = root.path / "etc/distd/credentials" / name
        file.write_text(content + "\n")
        file.chmod(0o600)
    drop_in = root.path / "etc/systemd/system/distd.service.d"
    drop_in.mkdir()
    (drop_in / "50-test.conf").write_text(OF_THE_TEST)
    with Booted(root) as system:
        until(lambda: system.show("ActiveState") == "active", "the unit to start", 30)
        yield system
    shutil.rmtree(drop_in)


booted = pytest.mark.skipif(not can_boot(), reason="systemd can be the first process of nothing here")


@booted
def test_the_unit_starts_as_its_user_with_its_credentials(root: FreshRoot, system: Booted) -> None:
    assert system.show("StatusText").startswith("0 active pulls")
    status = system.run("cat", f"/proc/{system.show('MainPID')}/status").stdout
    assert f"Uid:\t{names(root, 'passwd')['distd']}\t" in status
    assert "CapEff:\t0000000000000000" in status
    assert system.run("cat", "/run/credentials/distd.service/hf-token").stdout == "hf_of_the_operator\n"
    assert "ready" in system.run("distctl", "status").stdout  # by the socket
    fields = system.run("journalctl", "--output=json", "LOGGER=distd", "SYSLOG_IDENTIFIER=distd").stdout
    told = [json.loads(line)["MESSAGE"] for line in fields.splitlines()]
    assert any("serves http://127.0.0.1:7070" in message for message in told)
    assert not any(
        "chmod 600" in message for message in told
    )  # of a credential, which systemd opens to the user
    assert float(system.run("systemd-analyze", "security", "distd", "--no-pager").stdout.split()[-3]) < 2.0


@booted
def test_the_hardened_service_pulls_and_listens_for_members(
    system: Booted, root: FreshRoot, tmp_path: Path
) -> None:
    """Under its filters of system calls and address families, by a real pull and libtorrent's own listeners."""
    directory = tmp_path / "repo"
    generate(ModelSpec(weight_bytes=24 * MIB, shards=2), directory)
    hub = [
        sys.executable,
        "-m",
        "tests.hub",
        "--port",
        HUB.rpartition(":")[2],
        "--repo",
        f"acme/tiny={directory}",
    ]
    with system.beside("env", f"--chdir={CHECKOUT}", *hub, "--token", "hf_of_the_operator"):
        until(lambda: "ok    hub" in system.run("distctl", "doctor", check=False).stdout, "the Hub", 20)
        snapshot = system.run("distctl", "pull", "--quiet", "acme/tiny").stdout.strip()
    assert_same_files(root.path / snapshot.lstrip("/"), directory)
    assert system.run("distctl", "verify", "acme/tiny").stdout.startswith("ok")
    listening = system.run("ss", "-ltnH").stdout.replace("%lo", "")  # libtorrent binds to the device too
    assert all(f"127.0.0.1:{port} " in listening for port in (7070, 7071, 7072, 7073)), listening


@booted
def test_the_hardened_service_repairs_rot_from_a_member_and_exports_evicts_and_imports(
    system: Booted, root: FreshRoot, tmp_path: Path
) -> None:
    """On what the test before pulled, with the Hub gone; a member without hardening has it from the service."""
    directory = root.path / "var/lib/distd"
    secret_file = tmp_path / "secret"
    secret_file.write_text((root.path / "etc/distd/credentials/cluster-secret").read_text())
    secret_file.chmod(0o600)
    settings = {
        "node.state_dir": tmp_path / "member",
        "node.name": "member",
        "cluster.name": "fleet",
        "cluster.secret_file": secret_file,
        "cluster.join": "127.0.0.1:7071",
        "cluster.listen": "127.0.0.1:7081",
        "swarm.listen": "127.0.0.1:7082",
        "api.listen": "127.0.0.1:7080",
        "hub.endpoint": HUB,
        "hub.fetch": "false",
    }
    (tmp_path / "member").mkdir()
    member = [f"--set={key}={value}" for key, value in settings.items()]
    distctl = ("distctl", "--url", "http://127.0.0.1:7080")
    with system.beside("env", f"--chdir={CHECKOUT}", sys.executable, "-m", "distd", *member):
        until(lambda: "member" in system.run("distctl", "peers", check=False).stdout, "the member", 30)
        system.run(*distctl, "pull", "acme/tiny")

        before = len(pulls(system))
        weights = max((directory / "store/blobs").iterdir(), key=lambda path: path.stat().st_size)
        with weights.open("r+b", buffering=0) as file:
            file.seek(1_000_000)
            file.write(b"rotten")

        rotten = "rotted on the disk"
        until(lambda: rotten in system.run("journalctl", "-u", "distd").stdout, "rot to be found", 30)
        until(lambda: len(pulls(system)) > before and pulls(system)[0]["state"] == "complete", "a repair", 30)
        repair = pulls(system)[0]
        assert (repair["bytes_from_hub"], repair["bytes_from_peers"]) == (0, MIB)
        assert system.run("distctl", "verify", "acme/tiny").stdout.startswith("ok")

    snapshot = system.run("distctl", "path", "acme/tiny").stdout.strip()
    reader = ["setpriv", "--reuid=2001", "--regid=2001"]
    read = ["sh", "-c", f"cat {snapshot}/* > /dev/null && echo readable"]
    assert system.run(*reader, f"--groups={names(root, 'group')['models']}", *read).stdout == "readable\n"
    assert system.run(*reader, "--clear-groups", *read, check=False).stdout == ""

    system.run("distctl", "export", "acme/tiny", "/tmp/tiny.tar")
    system.run("distctl", "rm", "acme/tiny")
    assert system.run("distctl", "import", "/tmp/tiny.tar").stdout.strip() == snapshot
    assert system.run("distctl", "verify", "acme/tiny").stdout.startswith("ok")

    # Nobody has read it since, and it was sent to nobody.
    until(lambda: "acme/tiny" in evicted(system), "it to be evicted", 60, 1.0)
    assert not weights.exists()
    log = system.run("journalctl", "-u", "distd").stdout
    assert "Operation not permitted" not in log
    assert "Traceback" not in log


def evicted(system: Booted) -> list[str]:
    told = system.run("distctl", "gc", "--free", "1TB", "--json", check=False).stdout
    return [gone["repo"] for gone in json.loads(told)["evicted"]]


def pulls(system: Booted) -> list[dict[str, object]]:
    """The newest first."""
    found: list[dict[str, object]] = json.loads(system.run("distctl", "pulls", "--json").stdout)["items"]
    return found


@booted
def test_a_reload_keeps_the_process_and_a_hung_one_is_replaced(system: Booted) -> None:
    pid = system.show("MainPID")
    system.run("systemctl", "reload", "distd")
    assert system.show("MainPID") == pid

    system.run("kill", "-STOP", pid)
    until(lambda: system.show("NRestarts") == "1", "the watchdog", 30)
    until(lambda: system.show("ActiveState") == "active", "the restart", 30)
    assert system.show("MainPID") != pid
    log = system.run("journalctl", "-u", "distd", "--no-pager").stdout
    assert "Watchdog timeout" in log
    assert "Fatal Python error: Aborted" in log  # where each thread was

    system.run("systemctl", "stop", "distd")
    assert (system.show("Result"), system.show("ExecMainStatus")) == ("success", "0")


@booted
def test_a_request_waits_while_a_daemon_behind_the_socket_unit_starts(system: Booted) -> None:
    assert system.show("ActiveState") == "inactive"
    system.run("systemctl", "start", "distd.socket")
    assert "ready" in system.run("distctl", "status").stdout  # which started it
    system.run("systemctl", "restart", "--no-block", "distd")
    assert "ready" in system.run("distctl", "status").stdout
    system.run("systemctl", "stop", "distd.socket", "distd")


def test_an_upgrade_keeps_the_configuration_and_the_cache(root: FreshRoot, newer: Path) -> None:
    config = root.path / "etc/distd/config.toml"
    config.write_text(config.read_text().replace("connections = 8", "connections = 3"))
    before = sorted(str(path) for path in (root.path / "var/lib/distd/store/blobs").iterdir())
    assert before
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    shutil.copy(newer, root.path / "tmp/newer.deb")
    root.run("dpkg", "--force-depends", "--force-confold", "-i", "/tmp/newer.deb")
    assert "connections = 3" in config.read_text()
    assert sorted(str(path) for path in (root.path / "var/lib/distd/store/blobs").iterdir()) == before
    assert "99.0" in root.run("dpkg", "-s", "distd").stdout
    root.run("distctl", "config", "check")


def test_removal_keeps_the_configuration_and_the_cache_and_purge_keeps_the_cache(root: FreshRoot) -> None:
    blobs = root.path / "var/lib/distd/store/blobs"
    count = len(list(blobs.iterdir()))
    root.run("dpkg", "-r", "distd")
    assert not (root.path / "opt/distd").exists()
    assert not (root.path / "etc/systemd/system/multi-user.target.wants/distd.service").is_symlink()
    assert (root.path / "etc/distd/config.toml").exists()
    told = root.run("dpkg", "-P", "distd")
    assert "the cache stays in /var/lib/distd" in told.stderr
    assert not (root.path / "etc/distd/config.toml").exists()
    assert len(list(blobs.iterdir())) == count > 0


def test_make_uninstall_leaves_configuration_and_cache_alone(package: Path, tmp_path: Path) -> None:
    """On what `make install DESTDIR=` laid out for the package."""
    root = tmp_path / "root"
    shutil.copytree(CHECKOUT / "build/deb", root, symlinks=True)
    shutil.rmtree(root / "DEBIAN")
    (root / "var/lib/distd/hub").mkdir(parents=True)
    words = ["make", "uninstall", f"DESTDIR={root}", "BINDIR=/usr/bin"]
    subprocess.run(words, cwd=CHECKOUT, check=True, timeout=60)
    left = {path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir()}
    assert left == {"etc/distd/config.toml"}
    assert (root / "var/lib/distd/hub").is_dir()
