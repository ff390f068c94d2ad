"""`distctl cluster`: what is needed before the first two daemons meet. Asks no daemon."""

from __future__ import annotations

import os
import socket

import click

from distd.cli.failures import CommandFailed
from distd.cli.options import Group, Settings, examples
from distd.cli.output import document, note, say
from distd.cli.text import safe

DEFAULT_FILE = "/etc/distd/credentials/cluster-secret"

CONFIG = """\
[cluster]
name = {name}
listen = "0.0.0.0:7071"      # daemon to daemon, authenticated by the secret
join = ["{host}:7071"]       # one or a few members; this host, if a daemon runs here
{secret}

[swarm]
listen = "0.0.0.0:7072"      # content between members; the next port, 7073, is taken too
"""

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

AFTER = """\
3. Let the nodes reach each other on TCP 7071, 7072 and 7073, nobody else.
4. Restart distd on every node, then see them meet:
     sudo distd --check && sudo systemctl restart distd
     distctl peers
     distctl pull --nodes all REPO
"""


@click.group(
    cls=Group, epilog=examples("distctl cluster init", "distctl cluster init --file ./cluster-secret")
)
def command() -> None:
    """Set up a cluster."""


@command.command(epilog=examples("distctl cluster init", "distctl cluster init --file ./cluster-secret"))
@click.option("--file", "path", metavar="PATH", default=DEFAULT_FILE, help=f"Where to [{DEFAULT_FILE}].")
@click.option("--name", metavar="NAME", default="fleet", help="What the cluster is called [fleet].")
@click.option("--force", is_flag=True, help="Replace a secret that is there.")
@click.pass_obj
def init(settings: Settings, path: str, name: str, force: bool) -> None:
    """Write a new cluster secret and say what to do with it.

    Writes on this host only, and never over a file that exists unless told to.
    """
    from distd.config.load import CREDENTIALS_SOURCE
    from distd.sharing.secret_file import write_new

    path = os.path.abspath(path)
    try:
        write_new(path, replace=force)
    except FileExistsError:
        raise CommandFailed(
            f"{path} exists: members that have its secret would not know one with another; --force replaces it"
        ) from None
    except OSError as error:
        raise CommandFailed(
            f"{path}: {error.strerror}; name another with --file, or do it as a user who may write there"
        ) from None
    is_credential = os.path.dirname(path) == CREDENTIALS_SOURCE
    config = config_for(path, name)
    if settings.json:
        document({"file": path, "config": config})
    elif settings.quiet:
        say(safe(path))
    else:
        copy = (COPY_CREDENTIAL if is_credential else COPY).format(file=safe(path))
        note(NEXT.format(file=safe(path), copy=copy))
        say(config)
        note(AFTER)


def config_for(path: str, name: str) -> str:
    """What every node's `config.toml` needs. A credential of the service is not named: its user may not read that file."""
    import json

    from distd.config.load import CREDENTIALS_SOURCE

    # A JSON string is a TOML string.
    secret = f"secret_file = {json.dumps(path)}"
    if os.path.dirname(path) == CREDENTIALS_SOURCE:
        secret = f"# the unit hands over {path}: no secret_file"
    return CONFIG.format(name=json.dumps(name), host=socket.gethostname(), secret=secret)
