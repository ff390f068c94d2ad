"""Opens what a member needs: the cluster, the engine and the sharing between them, in order."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from distd.config import Config
from distd.config.kinds import split_listen
from distd.core.access import AllowList
from distd.core.hub_share import HubShare
from distd.core.rates import Meter
from distd.core.tally import Tally
from distd.errors import InvalidRequest
from distd.hub.fetcher import Fetcher
from distd.sharing.access import Gate, everybody
from distd.sharing.bandwidth import MemberBandwidth, Pacers
from distd.sharing.company import Company, tag_of
from distd.sharing.credentials import Credentials, read_credentials
from distd.sharing.doors import Doors
from distd.sharing.reachability import Reachability
from distd.sharing.remembered import Remembered
from distd.sharing.service import Sharing
from distd.store.blobs import BlobStore
from distd.store.manifests import ManifestStore
from peers.addresses import is_wildcard, join
from peers.cluster import Cluster, ClusterSettings
from peers.cluster_errors import ClusterError
from peers.engine import Engine
from peers.membership import MemberFacts
from peers.metainfo import Kind
from peers.resolving import outward
from peers.settings import EngineOptions
from peers.swarm import Endpoint, HashFailed, SwarmError, SwarmEvent

log = logging.getLogger(__name__)

SHUTDOWN_S = 3.0
"""For the engine to close its swarms: the contract allows 10 s from SIGTERM to exit for everything."""


@dataclass(frozen=True, slots=True)
class Membership:
    """This daemon as a member: whom it talks with, what it shares, and what people see of both."""

    cluster: Cluster
    sharing: Sharing
    company: Company
    bandwidth: MemberBandwidth
    engine: Engine

    def change_credentials(self, credentials: Credentials) -> None:
        """Sign with, accept and show these from now on; no transfer ends. Raises InvalidRequest, and changes nothing,
        when a secret or TLS would come or go."""
        try:
            self.cluster.change_credentials(credentials.secret, credentials.tls)
        except ValueError as error:
            raise InvalidRequest(str(error)) from error
        if credentials.tls is not None:
            self.engine.renew_certificate(credentials.tls)


async def open_sharing(
    config: Config,
    stack: AsyncExitStack,
    *,
    blobs: BlobStore,
    fetcher: Fetcher,
    manifests: ManifestStore,
    hub_meter: Meter,
    peers_meter: Meter,
    tally: Tally,
    pacers: Pacers,
) -> Membership:
    """Listens and begins to gossip. Raises DistdError naming the key at fault."""
    try:
        credentials = read_credentials(config.cluster, config.node.name)
        late: list[tuple[Sharing, Company]] = []

        def emit(happened: SwarmEvent) -> None:
            if isinstance(happened, HashFailed):
                tally.piece_rejected("peers")
            for sharing, company in late:
                sharing.swarm_event(happened)
                company.swarm_event(happened)

        host, port = split_listen(config.swarm.listen)
        engine = await Engine.start(
            EngineOptions(
                host,
                hot_port=port,
                sealed_port=port + 1 if port else 0,
                encryption=config.swarm.encryption,
                connections_max=config.swarm.max_connections,
                tag=tag_of(config.node.name),
                tls=credentials.tls,
            ),
            emit,
        )
        stack.push_async_callback(engine.shutdown, SHUTDOWN_S)
        hot, sealed = engine.endpoint(Kind.HOT), engine.endpoint(Kind.SEALED)
        facts = MemberFacts(
            "",
            zone=config.node.zone,
            hot_address=_told(config, hot, 0),
            sealed_address=_told(config, sealed, 1),
            fetches_hub=config.hub.fetch,
        )
        remembered = Remembered(Path(config.node.state_dir))
        cluster = Cluster(
            ClusterSettings(
                config.node.name,
                listen=config.cluster.listen,
                advertise=config.cluster.advertise,
                join=tuple(dict.fromkeys([*config.cluster.join, *remembered.addresses])),
                secret=credentials.secret,
                tls=credentials.tls,
                wire_version=config.cluster.wire_version,
                facts=facts,
            )
        )
        sharers = everybody
        if config.cluster.allow:
            gate = Gate(cluster, manifests, AllowList(config.cluster.allow))
            cluster.guard(gate)
            sharers = gate.sharers
        share = HubShare(config.node.name)
        sharing = Sharing(
            cluster,
            engine,
            blobs=blobs,
            fetcher=fetcher,
            sharers=sharers,
            may_fetch=config.hub.fetch,
            hub_meter=hub_meter,
            peers_meter=peers_meter,
            tally=tally,
            hub_share=share.lead_said,
        )
        company = Company(cluster, engine, name=config.cluster.name)
        late.append((sharing, company))
        remembered.follow(cluster)
        await cluster.start()
        stack.push_async_callback(cluster.stop)
        await sharing.open()
        stack.push_async_callback(sharing.close)
        bandwidth = MemberBandwidth(cluster, engine, sharing, share, pacers)
        bandwidth.open()
        reachability = Reachability(cluster)
        reachability.open()
        stack.callback(asyncio.create_task(reachability.watch()).cancel)
        doors = Doors(cluster, engine)
        doors.open()
        stack.callback(asyncio.create_task(doors.watch()).cancel)
    except (SwarmError, ClusterError) as error:
        raise InvalidRequest(str(error)) from error
    return Membership(cluster, sharing, company, bandwidth, engine)


def _told(config: Config, bound: Endpoint, offset: int) -> str:
    """Where others reach a session. Of an advertised port P the hot session is at P and the sealed one at P + 1, as
    of a port listened on; port 0 stands for the port that is bound. Raises InvalidRequest."""
    if config.swarm.advertise:
        host, port = split_listen(config.swarm.advertise)
        return join(host, port + offset if port else bound.port)
    if not is_wildcard(bound.host):
        return join(bound.host, bound.port)
    host = outward(bound.host) or ""
    if not host:
        raise InvalidRequest(
            f"swarm.listen = {config.swarm.listen!r}: no route tells this host's own address; set swarm.advertise"
        )
    return join(host, bound.port)
