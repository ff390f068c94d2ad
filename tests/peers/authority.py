"""A cluster's CA in a test's folder, and certificates of members signed by it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from peers.certificates import make_ca, make_member, revoke, serial_of
from peers.tls import TlsFiles, TlsIdentity, load


class Authority:
    """Certificates are made when they are asked for; each asking makes a new one."""

    def __init__(self, folder: Path, name: str = "fleet") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.ca_file = folder / "ca.pem"
        self.crl_file = folder / "crl.pem"
        self._cert, self._key = make_ca(name, time.time())
        self.ca_file.write_bytes(self._cert)

    def member(self, name: str, now: float | None = None) -> TlsFiles:
        """A new certificate for `name`, written over an earlier one; `now` is when it is made."""
        cert, key = make_member(name, self._cert, self._key, time.time() if now is None else now)
        files = TlsFiles(
            str(self.folder / f"{name}.pem"), str(self.folder / f"{name}.key"), str(self.ca_file), self._crl()
        )
        Path(files.cert).write_bytes(cert)
        Path(files.key).touch(mode=0o600)
        os.chmod(files.key, 0o600)
        Path(files.key).write_bytes(key)
        return files

    def revoke(self, *names: str, now: float | None = None) -> None:
        """The certificates of these that were made last count no longer, for whoever loads an identity from now on."""
        serials = [serial_of((self.folder / f"{name}.pem").read_bytes()) for name in names]
        before = self.crl_file.read_bytes() if self.crl_file.exists() else b""
        at = time.time() if now is None else now
        self.crl_file.write_bytes(revoke(self._cert, self._key, before, serials, at))

    def again(self, name: str) -> TlsIdentity:
        """With the certificate that it has, and the list as it is now."""
        files = TlsFiles(
            *(str(self.folder / f"{name}.{kind}") for kind in ("pem", "key")), str(self.ca_file), self._crl()
        )
        return load(files, time.time())

    def _crl(self) -> str:
        return str(self.crl_file) if self.crl_file.exists() else ""

    def identity(self, name: str) -> TlsIdentity:
        return load(self.member(name), time.time())
