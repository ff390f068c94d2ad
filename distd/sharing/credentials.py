"""What proves that this daemon is a member: the cluster's secret, its certificate, or both; read at the start and at SIGHUP."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass

from distd.config.sections import ClusterSection
from distd.errors import InvalidRequest
from peers import secret, tls
from peers.secret import Secret
from peers.tls import TlsIdentity

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Credentials:
    """None: not configured. Without either only loopback is listened on."""

    secret: Secret | None
    tls: TlsIdentity | None


def read_credentials(cluster: ClusterSection, name: str) -> Credentials:
    """Reads and judges every file that is named, and logs what deserves a warning. Raises InvalidRequest, also for a
    certificate that is not for this node, `name`: the others would refuse it."""
    try:
        found = secret.read(cluster.secret_file) if cluster.secret_file else None
        identity = None
        if cluster.tls_cert_file:
            files = tls.TlsFiles(
                cluster.tls_cert_file, cluster.tls_key_file, cluster.tls_ca_file, cluster.tls_crl_file
            )
            identity = tls.load(files, time.time())
            if not identity.names & {name, name[: tls.COMMON_NAME_CHARS_MAX]}:
                told = ", ".join(sorted(identity.names))
                reason = f"it is for {told}, not for this node, whose node.name is {name}"
                raise tls.TlsUnusable("cluster.tls_cert_file", cluster.tls_cert_file, reason)
    except (secret.SecretUnusable, tls.TlsUnusable) as error:
        raise InvalidRequest(str(error)) from error
    warnings = found.warnings if found and not _is_credential(cluster.secret_file) else ()
    for warning in (*warnings, *(identity.warnings if identity else ())):
        log.warning("%s", warning)
    return Credentials(found, identity)


def _is_credential(path: str) -> bool:
    """Whether systemd handed the file over: it lets the service's user in by an access list, which shows as the
    mode of a group that nobody else belongs to."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    return bool(directory) and os.path.dirname(path) == directory
