"""The daemon from top to bottom: configuration, adapters in order, serve, wait, close in reverse."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import click

from distd import __version__
from distd.adoption import AdoptionService
from distd.api.access import ACCESS
from distd.api.ports import Ports
from distd.api.server import build_app, serve
from distd.archives import ArchiveService
from distd.audit import AuditService
from distd.config import Config, ConfigError, load_config
from distd.config.checks import is_loopback
from distd.config.show import config_as_toml
from distd.config.token import hub_token_source, read_token
from distd.core.access import AllowList
from distd.core.desk import TINY_PER_CONNECTION
from distd.core.rates import Meter
from distd.core.tally import Tally
from distd.diagnosis.examination import Examination
from distd.draining import DrainPorts, DrainService
from distd.errors import EXIT_FAILED, EXIT_USAGE, DistdError
from distd.eviction import EvictionService
from distd.hub.fetcher import Fetcher
from distd.hub.resolver import Resolver
from distd.limits import LimitService, LoneBandwidth
from distd.logs import set_up_logging
from distd.models import ModelService
from distd.monitoring import MonitoringService
from distd.node import NodeService
from distd.nodes.operations import NodeOperations
from distd.nodes.own import LoneMember, OwnAnswers
from distd.nodes.waiting import WaitService
from distd.peering import LoneCircle, PeeringService
from distd.prefetch import MEETING_S, Nobody, PrefetchService
from distd.process import only_daemon, tune_allocator, tune_interpreter
from distd.pulls import stalls
from distd.pulls.changes import PullChanges
from distd.pulls.fleet import FleetPulls, Nodes
from distd.pulls.forecasts import Forecasts
from distd.pulls.own_part import LoneNode, OwnPart
from distd.pulls.planner import Planner
from distd.pulls.service import PullService
from distd.pulls.supply import BlobSupply
from distd.pulls.transfers import Transfers
from distd.rates import RateHistory
from distd.reload import Reload
from distd.repairs import Repairs
from distd.scrub import ScrubService
from distd.service_manager import ServiceManager
from distd.sharing.access import asking_the_hub, own_part
from distd.sharing.bandwidth import Pacers
from distd.sharing.credentials import read_credentials
from distd.sharing.health import cluster_checks
from distd.sharing.leaving import Leaving
from distd.sharing.once import AskedOnce, open_asked_once
from distd.sharing.prefetch_calls import MemberColleagues
from distd.sharing.rechecks import Rechecks
from distd.sharing.remote_nodes import MemberCircle, RemoteNodes
from distd.sharing.remote_pulls import RemotePulls
from distd.sharing.start import Membership, open_sharing
from distd.sharing.supply import COMPANY_AWAITED_S, Supply
from distd.sharing.whereabouts import LoneWhereabouts, Whereabouts
from distd.state.audit import AuditTable
from distd.state.bans import BanTable
from distd.state.database import Database
from distd.state.draining import DrainTable
from distd.state.limits import LimitTable
from distd.state.prefetch import PrefetchTable
from distd.state.pulls import PullTable
from distd.state.rates import RateTable
from distd.state.scrub import RepairTable
from distd.state.snapshots import SnapshotTable
from distd.store.blobs import BlobStore
from distd.store.cache import HubCache
from distd.store.disk import reported_for
from distd.store.manifests import ManifestStore
from peers.pieces import piece_length_bytes

log = logging.getLogger("distd")

USER_AGENT = f"distd/{__version__}"
METADATA_GIVE_UP_S = 15.0
"""Somebody waits at a prompt for the answer to "does this exist": less patience than for the bytes."""
STOP_TIMEOUT_S = 8.0
"""The contract allows 10 s from SIGTERM to exit; the rest is for the interpreter."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config", "file", metavar="FILE", help="Configuration file [default: /etc/distd/config.toml]."
)
@click.option("--set", "settings", metavar="SECTION.KEY=VALUE", multiple=True, help="Override one key.")
@click.option("--check", is_flag=True, help="Check the configuration and exit: 0 valid, 2 not.")
@click.option("--print-config", is_flag=True, help="Print the configuration in force as TOML and exit.")
@click.version_option(__version__, prog_name="distd")
def run(file: str | None, settings: tuple[str, ...], check: bool, print_config: bool) -> None:
    """The distd daemon: model weights for this server, fetched once, verified, ready to load."""
    try:
        config = load_config(file, settings)
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_USAGE)
    if print_config:
        click.echo(config_as_toml(config), nl=False)
    if check and not print_config:
        click.echo("the configuration is valid")
    if check or print_config:
        return
    set_up_logging(config.node.log_level, config.node.log_format)
    faulthandler.enable()  # a watchdog ends a hung daemon by SIGABRT: where each thread hung belongs in the log
    tune_allocator()
    tune_interpreter()
    try:
        asyncio.run(serve_until_stopped(config, Reload(lambda: load_config(file, settings))))
    except DistdError as error:
        log.critical("%s", error)
        sys.exit(EXIT_FAILED)


async def serve_until_stopped(config: Config, reload: Reload) -> None:
    """Runs the daemon until SIGTERM or SIGINT; a second signal does not wait. Raises DistdError at start."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    manager = ServiceManager()
    reload.manager = manager
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, stop)
    loop.add_signal_handler(signal.SIGHUP, reload)
    async with AsyncExitStack() as stack:
        node = await _open(config, reload, stack)
        gc.freeze()  # what was made at start lives until the end: no need to walk it again and again
        manager.ready()
        stack.callback(asyncio.create_task(manager.report(node.summary)).cancel)
        await stop.wait()
        log.info("stopping")
        manager.stopping()
        loop.call_later(STOP_TIMEOUT_S, os._exit, EXIT_FAILED)


async def _open(config: Config, reload: Reload, stack: AsyncExitStack) -> NodeService:
    """Opens everything in order of need; `stack` closes it in reverse. The API answers when it returns."""
    hub_dir, store_dir, state_dir = Path(config.hub_dir), Path(config.store_dir), Path(config.node.state_dir)
    stack.enter_context(only_daemon(state_dir))
    token = hub_token_source(config.hub.token_file)

    blobs = BlobStore(store_dir, cut=piece_length_bytes)
    stack.push_async_callback(blobs.close)
    blobs.open()
    cache = HubCache(hub_dir, blobs)
    with reported_for(hub_dir):
        hub_dir.mkdir(parents=True, exist_ok=True)
    manifests = ManifestStore(store_dir, blobs.workers)
    database = await Database.open(str(state_dir / "distd.sqlite"))
    stack.push_async_callback(database.close)

    tally = Tally()
    ca_file = config.hub.ca_file or None
    resolver = Resolver(
        config.hub.endpoint,
        token=token,
        user_agent=USER_AGENT,
        ca_file=ca_file,
        give_up_after_s=min(METADATA_GIVE_UP_S, config.hub.give_up_after),
        on_response=tally.hub_answered,
    )
    stack.push_async_callback(resolver.close)
    pacers = Pacers.make()
    fetcher = Fetcher(
        config.hub.endpoint,
        token=token,
        user_agent=USER_AGENT,
        connections=config.hub.connections * (1 + TINY_PER_CONNECTION),
        ca_file=ca_file,
        pace=pacers.hub,
        on_wire=tally.hub_received,
        on_response=tally.hub_answered,
    )
    await stack.enter_async_context(fetcher)
    transfers = Transfers(
        blobs,
        fetcher,
        piece_length_bytes=piece_length_bytes,
        connections=config.hub.connections,
        give_up_after_s=config.hub.give_up_after,
        tally=tally,
    )
    stack.push_async_callback(transfers.close)
    supply: BlobSupply = transfers
    in_work: Callable[[str], bool] = transfers.knows
    peers_meter = Meter()
    member: Membership | None = None
    once: AskedOnce | None = None
    if config.is_member:
        member = await open_sharing(
            config,
            stack,
            blobs=blobs,
            fetcher=fetcher,
            manifests=manifests,
            hub_meter=transfers.hub_meter,
            peers_meter=peers_meter,
            tally=tally,
            pacers=pacers,
        )
        awaited_s = COMPANY_AWAITED_S if config.cluster.join else 0.0
        once = open_asked_once(
            member.cluster,
            stack,
            hub=resolver,
            fetcher=fetcher,
            transfers=transfers,
            blobs=blobs,
            manifests=manifests,
            may_fetch=config.hub.fetch,
            peers_meter=peers_meter,
            company=member.company,
            tally=tally,
            pacers=pacers,
            company_awaited_s=awaited_s,
        )
        may_share = own_part(AllowList(config.cluster.allow), config.node.name, config.node.zone)
        chosen = supply = Supply(
            transfers, member.sharing, once, may_share=may_share, company_awaited_s=awaited_s
        )
        if config.cluster.gated == "own_access":
            fetcher.locate = None  # a URL that another member was given would be its access, not ours
        in_work = chosen.in_work
        stack.callback(chosen.close)
    audit = AuditService(AuditTable(database))
    peering = PeeringService(
        MemberCircle(member.cluster) if member else LoneCircle(config.node.name, config.node.zone),
        BanTable(database),
        audit.note,
    )
    await peering.open()
    draining = DrainService(DrainTable(database))
    if member:
        member.sharing.suspects.ban = peering.ban
        peering.check = Rechecks(member.sharing.suspects, blobs).check
    bandwidth = member.bandwidth if member else LoneBandwidth(pacers.hub)
    limits = LimitService(config.limits, LimitTable(database), bandwidth)
    await limits.open()

    models = ModelService(
        cache=cache,
        blobs=blobs,
        manifests=manifests,
        table=SnapshotTable(database),
        is_pulling=lambda type_, repo: pulls.is_pulling(type_, repo),
        needed_etags=lambda: pulls.needed_etags(),
    )
    models.whereabouts = (
        Whereabouts(member.cluster, models.published)
        if member
        else LoneWhereabouts(config.node.name, models.published)
    )
    eviction = EvictionService(
        models,
        blobs,
        max_bytes=config.cache.max_bytes,
        reserve_bytes=config.cache.min_free_bytes,
        in_work=in_work,
        needed_etags=lambda: (
            pulls.needed_etags() | archives.needed_etags() | adoption.needed_etags() | repairs.etags()
        ),
        is_pulling=lambda key: pulls.may_publish(key),
        promised_bytes=lambda: pulls.unreserved_bytes(),
        tally=tally,
    )
    planner = Planner(
        once.metadata if once else resolver,
        manifests,
        blobs,
        cache,
        endpoint=config.hub.endpoint,
        may_fetch=config.hub.fetch,
        reserve_bytes=config.cache.min_free_bytes,
        max_bytes=config.cache.max_bytes,
        unreserved_bytes=lambda: pulls.unreserved_bytes(),
        room=eviction,
        others=once.others if once else None,
        check_access=asking_the_hub(fetcher) if once and config.cluster.gated == "own_access" else None,
    )
    archives = ArchiveService(models, blobs, manifests, planner)
    adoption = AdoptionService(models, blobs, planner, archives.follow)
    cluster_meter = Meter()
    company = member.company if member else None
    history = RateHistory(
        RateTable(database),
        {"hub": transfers.hub_meter, "peers": peers_meter, "cluster": cluster_meter},
        blobs.workers.hashed,
        company.flows if company else dict,
    )
    await history.open()
    stack.push_async_callback(history.close)
    forecasts = Forecasts(
        hub=transfers.hub_meter,
        peers=peers_meter,
        cluster=cluster_meter,
        supply=supply,
        hashed=blobs.workers.hashed,
        past=history,
        caps=lambda: limits.hub_caps(is_alone=company is None),
        scored=tally.observe_eta_error,
    )
    pull_table = PullTable(database)
    changes = PullChanges(lambda: fleet)
    pulls = PullService(
        planner=planner,
        transfers=supply,
        blobs=blobs,
        manifests=manifests,
        table=pull_table,
        publish=models.publish,
        forecasts=forecasts,
        tally=tally,
        changed=changes.changed,
    )
    await models.open()
    leaving = Leaving(member.cluster, member.sharing, member.company) if member else None
    await draining.open(leaving, pulls)
    stack.push_async_callback(pulls.close)
    repairs = Repairs(models, RepairTable(database), pulls.submit, pulls.state_of)
    await repairs.open()
    await pulls.open(keep=repairs.etags())
    scrub = ScrubService(config.cache.scrub_interval, blobs, repairs, database, tally)
    own = OwnPart(pulls)
    nodes: Nodes = (
        RemotePulls(member.cluster, own, audit.note)
        if member
        else LoneNode(config.node.name, config.node.zone, own)
    )
    fleet = FleetPulls(pulls, nodes, pull_table, changed=changes.changed)
    stack.push_async_callback(fleet.close)
    await fleet.open()

    zone = config.node.zone
    colleagues = MemberColleagues(member.cluster, zone) if member else Nobody(config.node.name, zone)
    prefetch = PrefetchService(
        config.prefetch,
        PrefetchTable(database),
        fleet,
        models,
        colleagues,
        held_back=lambda: draining.is_draining,
    )
    stack.push_async_callback(prefetch.close)
    await prefetch.open()

    node = NodeService(
        config,
        blobs=blobs,
        hub_meter=transfers.hub_meter,
        peers_meter=peers_meter,
        active_pulls=fleet.active_views,
        company=company,
        rates=history.views,
        scrub=scrub.view,
        service=lambda: draining.view().state,
        examination=Examination(
            config, resolver, cluster_checks(member.cluster, config.cluster.join) if member else ()
        ),
    )
    answers = OwnAnswers(node, models, peering, draining)
    members = (
        RemoteNodes(member.cluster, answers, audit.note)
        if member
        else LoneMember(config.node.name, zone, answers)
    )
    operations = NodeOperations(members)
    if leaving and once:
        draining.connect(DrainPorts(leaving, pulls, fleet, models, once.others.holders, operations.status))
    monitoring = MonitoringService(config, tally, node, pulls, company)
    watching = [member.company.watch(), member.bandwidth.watch()] if member else []
    # A member that starts knows nobody yet, and would run for itself what another runs for all.
    watching += [prefetch.watch(begin_after_s=MEETING_S if member else 0.0)]
    watching += [history.watch(), forecasts.watch(pulls.active), scrub.watch(), changes.watch()]
    watching += [stalls.watch(pulls.active), draining.watch(), peering.watch()]
    for background in (node.watch(), limits.watch(), eviction.watch(), _prepare_quietly(resolver), *watching):
        stack.callback(asyncio.create_task(background).cancel)
    api_token = read_token(config.api.token_file) if config.api.token_file else None
    app = build_app(
        Ports(
            fleet,
            models,
            node,
            limits,
            prefetch,
            monitoring,
            operations,
            eviction,
            peering,
            archives,
            audit,
            adoption,
            WaitService(models, members),
            changes,
        ),
        writable=not config.api.listen or is_loopback(config.api.listen),
        token=api_token or "",
    )
    reload.set_limits = limits.reload
    if member:
        reload.set_credentials = lambda cluster: member.change_credentials(
            read_credentials(cluster, config.node.name)
        )
    reload.set_prefetch = prefetch.reload
    reload.set_outcome = tally.reload_ended
    reload.set_api_token = app[ACCESS].replace_token
    bound = await stack.enter_async_context(serve(app, config.api.listen, config.api.socket))
    where = ", ".join([*(f"http://{address}" for address in bound.tcp), *filter(None, [bound.socket])])
    log.info(
        "distd %s serves %s from %s; cache %s", __version__, where, config.hub.endpoint, hub_dir.absolute()
    )
    return node


async def _prepare_quietly(resolver: Resolver) -> None:
    """The first pull should not wait for an import; whatever is wrong shows when the Hub is asked."""
    with suppress(DistdError):
        await resolver.prepare()


def _stop(stop: asyncio.Event) -> None:
    if stop.is_set():
        os._exit(EXIT_FAILED)
    stop.set()


if __name__ == "__main__":
    run()
