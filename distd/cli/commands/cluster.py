"""`distctl cluster`: what is needed before the first two daemons meet. Asks no daemon."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence

import click

from distd.cli.failures import CommandFailed
from distd.cli.options import Group, Settings, examples
from distd.cli.output import document, note, say
from distd.cli.text import safe

DEFAULT_FILE = "/etc/distd/credentials/cluster-secret"
DEFAULT_TLS_DIR = "/etc/distd/tls"

CONFIG = """\
[cluster]
name = {name}
listen = "0.0.0.0:7071"      # daemon to daemon, authenticated by the secret
join = ["{host}:7071"]       # one or a few members; this host, if a daemon runs here
{secret}

[swarm]
listen = "0.0.0.0:7072"      # content between members; the next port, 7073, is taken too
{encryption}"""

ENCRYPTION_TLS = 'encryption = "tls"           # TLS torrents too; the same on every node\n'
TLS_FILES = {"cert": "node.pem", "key": "node.key", "ca": "ca.pem"}
"""What each node calls its own certificate, so that one configuration serves all."""

NEXT = """\
{file} holds a new secret: whoever has it is a member. Next:

1. {copy}
2. Put this into config.toml on every node; node.name has to differ from node to node (the host name does):
"""

COPY = """\
Copy it to every node, to the same path, readable by the daemon's user alone:
     scp -p {file} NODE:{file} && ssh NODE chown distd {file}
   (here too, where the daemon runs as a user of its own)"""
COPY_CREDENTIAL = """\
Copy it to every node, to the same path; the unit hands it to the daemon:
     scp -p {file} NODE:{file}"""

COPY_TLS = """
   Likewise ca.pem, and each node's own certificate under one name; ca.key stays here, whoever has it makes members:
     scp {dir}/ca.pem NODE:{dir}/ && scp {dir}/NODE.pem NODE:{dir}/node.pem && scp -p {dir}/NODE.key NODE:{dir}/node.key
     ssh NODE chown distd {dir}/node.key"""

REVOKED = """\
{count} certificates are on the list in {file}. Next, on every node that stays:

1. Copy it there, to the same path, and name it once in config.toml, then restart:  [cluster] tls_crl_file = "{file}"
   Where it is named already:  sudo systemctl reload distd
2. Change the cluster's secret too: the swarms of large files do not read the list (docs/CLUSTER.md).
"""

AFTER = """\
3. Let the nodes reach each other on TCP 7071, 7072 and 7073, nobody else.
4. Restart distd on every node, then see them meet:
     sudo distd --check && sudo systemctl restart distd
     distctl peers
     distctl pull --nodes all REPO
"""


@click.group(
    cls=Group,
    epilog=examples(
        "distctl cluster init",
        "distctl cluster init --tls --node gpu-1 --node gpu-2",
        "distctl cluster cert gpu-3",
        "distctl cluster revoke gpu-3",
    ),
)
def command() -> None:
    """Set up a cluster."""


@command.command(
    epilog=examples("distctl cluster init", "distctl cluster init --tls --node gpu-1 --node gpu-2")
)
@click.option("--file", "path", metavar="PATH", default=DEFAULT_FILE, help=f"Where to [{DEFAULT_FILE}].")
@click.option("--name", metavar="NAME", default="fleet", help="What the cluster is called [fleet].")
@click.option("--tls", is_flag=True, help="Make a CA and certificates too; a secret that is there stays.")
@click.option(
    "--tls-dir", metavar="DIR", default=DEFAULT_TLS_DIR, help=f"Where those lie [{DEFAULT_TLS_DIR}]."
)
@click.option(
    "--node", "nodes", metavar="NAME", multiple=True, help="A certificate for this node [this host]."
)
@click.option("--force", is_flag=True, help="Replace a secret, with --tls a CA, that is there.")
@click.pass_obj
def init(
    settings: Settings, path: str, name: str, tls: bool, tls_dir: str, nodes: tuple[str, ...], force: bool
) -> None:
    """Write a new cluster secret and say what to do with it.

    Writes on this host only, and never over a file that exists unless told to. With --tls members prove themselves by
    certificates as well, and everything between them is encrypted.
    """
    from distd.sharing.member_files import CA_CERT, write_ca, write_new

    if nodes and not tls:
        raise click.UsageError("--node names certificates: it goes with --tls")
    path, tls_dir = os.path.abspath(path), os.path.abspath(tls_dir)
    if not (tls and os.path.exists(path)):
        _written(path, lambda: write_new(path, replace=force))
    certificates: list[tuple[str, str]] = []
    if tls:
        _written(os.path.join(tls_dir, CA_CERT), lambda: write_ca(tls_dir, name, replace=force))
        certificates = _certificates(tls_dir, nodes or (socket.gethostname(),))
    is_credential = os.path.dirname(path) == _credentials_source()
    config = config_for(path, name, tls_dir if tls else "")
    if settings.json:
        told = {"ca": os.path.join(tls_dir, CA_CERT), "certificates": [cert for cert, _ in certificates]}
        document({"file": path, "config": config, **(told if tls else {})})
    elif settings.quiet:
        say(safe(path))
    else:
        copy = (COPY_CREDENTIAL if is_credential else COPY).format(file=safe(path))
        note(NEXT.format(file=safe(path), copy=copy + (COPY_TLS.format(dir=safe(tls_dir)) if tls else "")))
        say(config)
        note(AFTER)


@command.command(
    epilog=examples("distctl cluster cert gpu-3", "distctl cluster cert gpu-1 gpu-2 --tls-dir ./tls")
)
@click.argument("nodes", metavar="NODE...", nargs=-1, required=True)
@click.option(
    "--tls-dir", metavar="DIR", default=DEFAULT_TLS_DIR, help=f"Where the CA lies [{DEFAULT_TLS_DIR}]."
)
@click.pass_obj
def cert(settings: Settings, nodes: tuple[str, ...], tls_dir: str) -> None:
    """Make or renew members' certificates with the CA that `cluster init --tls` made.

    Copy each to its node and reload the daemon there (systemctl reload distd): no transfer ends.
    """
    certificates = _certificates(os.path.abspath(tls_dir), nodes)
    if settings.json:
        document(
            {
                "items": [
                    {"node": n, "cert": c, "key": k} for n, (c, k) in zip(nodes, certificates, strict=True)
                ]
            }
        )
        return
    for written, key in certificates:
        say(f"{safe(written)}\n{safe(key)}")


@command.command(
    epilog=examples("distctl cluster revoke gpu-3", "distctl cluster revoke gpu-1 gpu-2 --tls-dir ./tls")
)
@click.argument("nodes", metavar="NODE...", nargs=-1, required=True)
@click.option(
    "--tls-dir", metavar="DIR", default=DEFAULT_TLS_DIR, help=f"Where the CA lies [{DEFAULT_TLS_DIR}]."
)
@click.pass_obj
def revoke(settings: Settings, nodes: tuple[str, ...], tls_dir: str) -> None:
    """Put all certificates made for these nodes on the list of those that count no longer.

    It takes effect where a daemon reads the list: copy it to every node and reload. A new certificate counts again.
    """
    from distd.sharing.member_files import CRL, revoke_members

    tls_dir = os.path.abspath(tls_dir)
    path = os.path.join(tls_dir, CRL)
    revoked: dict[str, list[str]] = {}
    try:
        _written(path, lambda: revoked.update(revoke_members(tls_dir, nodes)))
    except ValueError as error:
        raise CommandFailed(f"nothing was revoked: {error}") from None
    if settings.json:
        document({"file": path, "items": [{"node": n, "serials": s} for n, s in revoked.items()]})
    elif settings.quiet:
        say(safe(path))
    else:
        say(safe(path))
        note(REVOKED.format(file=safe(path), count=sum(map(len, revoked.values()))))


def _written(path: str, write: Callable[[], None]) -> None:
    """Does it. Raises CommandFailed with what to do."""
    try:
        write()
    except FileExistsError:
        raise CommandFailed(
            f"{path} exists: members that have it would not know one with another; --force replaces it"
        ) from None
    except OSError as error:
        raise CommandFailed(
            f"{path}: {error.strerror}; name another place, or do it as a user who may write there"
        ) from None


def _certificates(directory: str, nodes: Sequence[str]) -> list[tuple[str, str]]:
    from distd.sharing.member_files import CA_KEY, write_members

    made: list[tuple[str, str]] = []
    try:
        _written(os.path.join(directory, CA_KEY), lambda: made.extend(write_members(directory, nodes)))
    except ValueError as error:
        raise CommandFailed(f"the CA in {directory} made no certificate: {error}") from None
    return made


def _credentials_source() -> str:
    from distd.config.load import CREDENTIALS_SOURCE

    return CREDENTIALS_SOURCE


def config_for(path: str, name: str, tls_dir: str = "") -> str:
    """What every node's `config.toml` needs. A credential of the service is not named: its user may not read that file."""
    import json

    # A JSON string is a TOML string.
    secret = f"secret_file = {json.dumps(path)}"
    if os.path.dirname(path) == _credentials_source():
        secret = f"# the unit hands over {path}: no secret_file"
    named = {f"{kind}_file": json.dumps(f"{tls_dir}/{file}") for kind, file in TLS_FILES.items()}
    tls = "".join(f"\ntls_{key} = {value}" for key, value in named.items()) if tls_dir else ""
    return CONFIG.format(
        name=json.dumps(name),
        host=socket.gethostname(),
        secret=secret + tls,
        encryption=ENCRYPTION_TLS if tls_dir else "",
    )
