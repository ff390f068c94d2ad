"""A certificate that is revoked while its member is connected: a reload of the others is enough."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from pathlib import Path

from tests.daemon.daemon import until
from tests.hub import HubProcess
from tests.peers.authority import Authority
from tests.sharing.fleet import address, member, until_all_know

WAIT_S = 30.0


def test_a_reload_with_a_list_shuts_a_member_out(hub: HubProcess, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    authority.revoke()  # nobody
    with ExitStack() as stack:
        daemons, join = [], ""
        for name in ("n0", "n1"):
            files = authority.member(name)
            settings = {
                "cluster.tls_cert_file": files.cert,
                "cluster.tls_key_file": files.key,
                "cluster.tls_ca_file": files.ca,
                "cluster.tls_crl_file": files.crl,
                "swarm.encryption": "tls",
            }
            daemons.append(stack.enter_context(member(tmp_path, hub, name, join, settings)))
            join = join or address(daemons[0])
        until_all_know(daemons)
        stays, stolen = daemons
        authority.revoke("n1")
        for daemon, said in ((stays, "reloaded: "), (stolen, "nothing changed")):
            seen = daemon.log_file.stat().st_size
            os.kill(daemon.pid, signal.SIGHUP)
            until(lambda d=daemon, s=seen, w=said: w in d.log(s), "the reload", WAIT_S)  # type: ignore[misc]  # bound now
        assert "it is revoked by" in stolen.log()
        until(lambda: "revoked" in stolen.log().partition("nothing changed")[2], "to be refused", WAIT_S)
        until(lambda: "revoked" in stays.log(), "it not to be asked any more", WAIT_S)
