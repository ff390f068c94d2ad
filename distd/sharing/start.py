"""Opens what a member needs: the cluster, the engine and the sharing between them, in order."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack

from distd.config import Config
from distd.config.kinds import split_listen
from distd.core.rates import Meter
from distd.errors import InvalidRequest
from distd.hub.fetcher import Fetcher
from distd.sharing.service import Sharing
from distd.store.blobs import BlobStore
from peers import secret as secrets_file
from peers.addresses import join
from peers.cluster import Cluster, ClusterSettings
from peers.cluster_errors import ClusterError
from peers.engine import Engine
from peers.membership import MemberFacts
from peers.metainfo import Kind
from peers.settings import EngineOptions
from peers.swarm import SwarmError, SwarmEvent

log = logging.getLogger(__name__)

SHUTDOWN_S = 3.0
"""For the engine to close its swarms: the contract allows 10 s from SIGTERM to exit for everything."""


def is_member(config: Config) -> bool:
    """Whether this daemon takes part in a cluster: it names one, somebody to join, or a secret."""
    return bool(config.cluster.name or config.cluster.join or config.cluster.secret_file)


async def open_sharing(
    config: Config,
    stack: AsyncExitStack,
    *,
    blobs: BlobStore,
    fetcher: Fetcher,
    hub_meter: Meter,
    peers_meter: Meter,
) -> tuple[Cluster, Sharing]:
    """Listens and begins to gossip. Raises DistdError naming the key at fault."""
    try:
        secret = secrets_file.read(config.cluster.secret_file) if config.cluster.secret_file else None
        for warning in secret.warnings if secret else ():
            log.warning("%s", warning)
        late: list[Sharing] = []

        def emit(happened: SwarmEvent) -> None:
            if late:
                late[0].swarm_event(happened)

        host, port = split_listen(config.swarm.listen)
        engine = await Engine.start(
            EngineOptions(
                host,
                hot_port=port,
                sealed_port=port + 1 if port else 0,
                encryption=config.swarm.encryption,
                connections_max=config.swarm.max_connections,
                tag=config.node.name,
            ),
            emit,
        )
        stack.push_async_callback(engine.shutdown, SHUTDOWN_S)
        hot, sealed = engine.endpoint(Kind.HOT), engine.endpoint(Kind.SEALED)
        facts = MemberFacts(
            "",
            zone=config.node.zone,
            hot_address=join(hot.host, hot.port),
            sealed_address=join(sealed.host, sealed.port),
            fetches_hub=config.hub.fetch,
        )
        cluster = Cluster(
            ClusterSettings(
                config.node.name,
                listen=config.cluster.listen,
                advertise=config.cluster.advertise,
                join=config.cluster.join,
                secret=secret,
                facts=facts,
            )
        )
        sharing = Sharing(
            cluster,
            engine,
            blobs=blobs,
            fetcher=fetcher,
            secret=cluster.swarm_key,
            may_fetch=config.hub.fetch,
            hub_meter=hub_meter,
            peers_meter=peers_meter,
        )
        late.append(sharing)
        await cluster.start()
        stack.push_async_callback(cluster.stop)
        await sharing.open()
        stack.push_async_callback(sharing.close)
    except (SwarmError, ClusterError, secrets_file.SecretUnusable) as error:
        raise InvalidRequest(str(error)) from error
    return cluster, sharing
