"""One member's disk fills up or breaks while all pull: it fails clearly and leaves, the others don't notice."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.daemon.daemon import CHECKOUT, DaemonProcess
from tests.daemon.faulty_disk import FaultyDisk
from tests.daemon.repos import MIB, Repos, assert_nothing_published
from tests.hub import HubProcess
from tests.swarm.fleet import Fleet, assert_copies_at_most, complete, hub_copies

EXIT_FAILED, EXIT_NO_SPACE = 1, 7


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> FaultyDisk:
    return FaultyDisk(tmp_path_factory.mktemp("disk"))


@pytest.fixture(scope="module")
def fleet(hub: HubProcess, disk: FaultyDisk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """The last member's disk is the one that fails."""
    with Fleet(tmp_path_factory.mktemp("fleet"), hub, 3, environments={2: disk.environment}) as fleet:
        yield fleet


def distctl_pull(daemon: DaemonProcess, repo: str) -> subprocess.CompletedProcess[str]:
    """Waits for the unfinished pull of that repo, and starts one if there is none."""
    return subprocess.run(
        [sys.executable, "-m", "distd.cli", "--url", daemon.url, "pull", repo],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [(errno.ENOSPC, "no_space", EXIT_NO_SPACE), (errno.EIO, "internal", EXIT_FAILED)],
    ids=["full", "broken"],
)
def test_a_disk_that_fails_on_one_member_is_no_business_of_the_others(
    hub: HubProcess, repos: Repos, disk: FaultyDisk, fleet: Fleet, error: int, code: str, status: int
) -> None:
    failing = fleet.nodes[2]
    repo = repos.make(weight_mib=24)
    hub.set(rate_bytes_per_s=16 * MIB)
    hub.reset_counters()
    pulls = fleet.submit(repo)
    fleet.await_share({failing: pulls[failing]}, 0.2)
    # A full disk takes nothing at all, the database and the ledgers included.
    disk.fail(error, "w", "/n2/state/" if error == errno.ENOSPC else "/incoming/")
    failed = fleet.wait({failing: pulls.pop(failing)})[0].view
    assert (failed["state"], failed["error"]["code"]) == ("failed", code), failed["error"]
    assert_nothing_published(failing.hub_dir, repo)
    asked = distctl_pull(failing, repo.id)
    assert asked.returncode == status, asked.stderr

    complete(fleet.wait(pulls), repo)
    print(f"{code} on one of three: {hub_copies(repo):.3f} Hub copies")
    assert_copies_at_most(repo, 1.2)  # of a small repo what the failed member alone held weighs more

    disk.heal()
    hub.reset_counters()
    again = fleet.wait(fleet.submit(repo, [failing]))
    complete(again, repo)
    assert again[0].view["bytes_reused"] > 0
    assert repo.sent_bytes() == 0, "the members have it"
    assert "Traceback" not in failing.log()
