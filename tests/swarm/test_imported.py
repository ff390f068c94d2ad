"""What one member took in from a file, all others get from it, though no Hub ever answered them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.daemon.daemon import DaemonProcess
from tests.daemon.repos import Repos
from tests.hub import HubProcess
from tests.swarm.fleet import Fleet, complete


def distctl(node: DaemonProcess, *words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "distd.cli", "--url", node.url, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_what_one_member_imported_another_one_pulls_without_a_hub(
    hub: HubProcess, repos: Repos, tmp_path: Path
) -> None:
    repo, file = repos.make(weight_mib=24, shards=6), tmp_path / "model.tar"
    with DaemonProcess(tmp_path / "elsewhere", hub.url) as elsewhere:
        elsewhere.pulled(repo.id)
        distctl(elsewhere, "export", repo.id, str(file))
    with Fleet(tmp_path, hub, 2) as fleet:
        hub.add_fault("status", path="*", status=503, times=None)
        hub.reset_counters()
        first, second = fleet.nodes
        distctl(second, "import", str(file))
        ended = fleet.wait(fleet.submit(repo, [first]))
        complete(ended, repo)
        assert repo.sent_bytes() == 0
        assert ended[0].view["bytes_from_peers"] == repo.size_bytes
