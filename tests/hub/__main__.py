"""`python -m tests.hub`: a Hub as a process. Prints one JSON line with its URLs when ready; SIGTERM stops it."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from tests.hub.server import HubServer
from tests.hub.tls import server_context
from tests.hub.wire import TYPES


def parse_repo(text: str) -> tuple[str, str, Path]:
    """`[model:|dataset:|space:]org/name=DIR` as type, id and directory."""
    name, equals, directory = text.partition("=")
    repo_type, colon, repo_id = name.rpartition(":")
    if not equals or (colon and repo_type not in TYPES.values()) or not Path(directory).is_dir():
        raise argparse.ArgumentTypeError(
            f"{text!r} is not [dataset:|space:]org/name=DIR with an existing DIR"
        )
    return repo_type or "model", repo_id, Path(directory)


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.hub", description=__doc__)
    parser.add_argument("--repo", action="append", type=parse_repo, default=[], metavar="[TYPE:]ID=DIR")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="of the Hub's origin; 0 takes a free one")
    parser.add_argument("--data-port", type=int, default=0, help="of the data origin")
    parser.add_argument("--rate", "--rate-bytes-per-s", type=float, help="cap of the data origin in total")
    parser.add_argument(
        "--connection-rate", "--connection-rate-bytes-per-s", type=float, help="of each connection"
    )
    parser.add_argument("--latency", "--latency-s", type=float, default=0.0, help="added to every answer")
    parser.add_argument("--page-size", type=int, default=1000)
    parser.add_argument("--url-life", "--url-life-s", type=int, default=3600)
    parser.add_argument(
        "--quota", action="append", default=[], metavar="api=N|resolvers=N", help="make 429 real"
    )
    parser.add_argument("--token", action="append", default=[], metavar="TOKEN", help="a valid token")
    parser.add_argument("--private", action="store_true", help="all given repos, readable with any --token")
    parser.add_argument("--gated", choices=("auto", "manual"), help="all given repos, open to any --token")
    parser.add_argument("--xet-headers", action="store_true", help="announce Xet hashes")
    parser.add_argument("--code-on-anonymous-401", action="store_true")
    parser.add_argument("--tls-cert", type=Path)
    parser.add_argument("--tls-key", type=Path)
    return parser.parse_args(arguments)


def build(options: argparse.Namespace) -> HubServer:
    """The Hub that the options describe, not yet listening."""
    hub = HubServer(
        host=options.host,
        port=options.port,
        data_port=options.data_port,
        tls=server_context(options.tls_cert, options.tls_key) if options.tls_cert else None,
        quotas={name: int(number) for name, _, number in (text.partition("=") for text in options.quota)},
        rate_bytes_per_s=options.rate,
        connection_rate_bytes_per_s=options.connection_rate,
        latency_s=options.latency,
        page_size=options.page_size,
        url_life_s=options.url_life,
        xet_headers=options.xet_headers,
        code_on_anonymous_401=options.code_on_anonymous_401,
    )
    for number, token in enumerate(options.token):
        hub.add_token(token, f"user-{number}")
    for repo_type, repo_id, directory in options.repo:
        hub.add_repo(
            repo_id,
            directory,
            type=repo_type,
            private=options.private,
            gated=options.gated or False,
            readers=options.token,
        )
    return hub


async def serve(options: argparse.Namespace) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with build(options) as hub:
        ready = {"url": hub.url, "data_url": hub.data_url, "control_url": await hub.start_control()}
        print(json.dumps({**ready, "pid": os.getpid()}), flush=True)
        await stopped.wait()


if __name__ == "__main__":
    asyncio.run(serve(parse_arguments(sys.argv[1:])))
