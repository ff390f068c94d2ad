"""Writes what makes daemons members: the cluster's secret, its CA, and certificates signed by it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from peers import secret

CA_CERT, CA_KEY = "ca.pem", "ca.key"
"""The CA in the directory of its certificates; only `CA_KEY` makes further ones."""

CRL, ISSUED = "crl.pem", "issued"
"""Certificates that count no longer, and all that were made: a line `SERIAL NAME` each. A renewed one overwrites the one before,
which counts on."""

CERT_MODE = 0o644
"""Certificates are shown to everybody who connects; the daemon runs as a user of its own and has to read them."""


def write_new(path: str, *, replace: bool = False) -> None:
    """A new secret at `path`, readable by its owner alone, complete or not there at all.

    Raises OSError: FileExistsError when there is a file already, unless `replace`.
    """
    _write(path, f"{secret.generate()}\n".encode(), replace=replace)


def write_ca(directory: str, name: str, *, replace: bool = False) -> None:
    """A new CA for the cluster `name` in `directory`, which is made. Raises OSError as `write_new` does."""
    from peers import certificates  # cryptography with it, which is slow to load

    cert, key = certificates.make_ca(name, time.time())
    os.makedirs(directory, mode=0o755, exist_ok=True)
    _write(os.path.join(directory, CA_CERT), cert, replace=replace, mode=CERT_MODE)
    _write(os.path.join(directory, CA_KEY), key, replace=True)


def write_member(directory: str, name: str) -> tuple[str, str]:
    """A new certificate for the node `name` and its key, signed by the CA in `directory`, over those of an earlier call.

    Returns both paths. Raises OSError, and ValueError for a CA that cannot be used or a name that is no file's.
    """
    from peers import certificates

    if not name or "/" in name or name.startswith("."):
        raise ValueError(f"{name!r} cannot be the name of a file")
    ca_cert, ca_key = (Path(directory, each).read_bytes() for each in (CA_CERT, CA_KEY))
    cert, key = certificates.make_member(name, ca_cert, ca_key, time.time())
    paths = os.path.join(directory, f"{name}.pem"), os.path.join(directory, f"{name}.key")
    with open(os.path.join(directory, ISSUED), "a") as issued:
        issued.write(f"{certificates.serial_of(cert):x} {name}\n")
    _write(paths[1], key, replace=True)
    _write(paths[0], cert, replace=True, mode=CERT_MODE)
    return paths


def write_members(directory: str, names: Sequence[str]) -> list[tuple[str, str]]:
    """As `write_member`, for several."""
    return [write_member(directory, name) for name in names]


def revoke_members(directory: str, names: Sequence[str]) -> dict[str, list[str]]:
    """Every certificate that was made for these nodes in `directory` goes on the list there, which is made when there is none.

    Returns the serial numbers by node. Raises OSError, and ValueError for a CA that cannot be used or a name that has no certificate.
    """
    from peers import certificates

    files = {each: Path(directory, each) for each in (CA_CERT, CA_KEY, CRL, ISSUED)}
    issued = files[ISSUED].read_text().splitlines() if files[ISSUED].exists() else []
    found: dict[str, list[str]] = {}
    for name in names:
        serials = {line.partition(" ")[0] for line in issued if line.partition(" ")[2] == name}
        cert = Path(directory, f"{name}.pem")
        if "/" not in name and name != Path(CA_CERT).stem and cert.exists():
            serials.add(
                f"{certificates.serial_of(cert.read_bytes()):x}"
            )  # also of one made before there was a record
        if not serials:
            raise ValueError(f"no certificate was made here for {name!r}")
        found[name] = sorted(serials)
    numbers = [int(serial, 16) for serials in found.values() for serial in serials]
    before = files[CRL].read_bytes() if files[CRL].exists() else b""
    made = certificates.revoke(
        files[CA_CERT].read_bytes(), files[CA_KEY].read_bytes(), before, numbers, time.time()
    )
    _write(str(files[CRL]), made, replace=True, mode=CERT_MODE)
    return found


def _write(path: str, content: bytes, *, replace: bool, mode: int = 0o600) -> None:
    aside = f"{path}.{os.getpid()}.new"
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(aside, path)
        else:
            os.link(aside, path)  # unlike a rename it never replaces
    finally:
        if os.path.lexists(aside):
            os.unlink(aside)
