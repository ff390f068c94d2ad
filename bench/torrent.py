"""What BitTorrent needs beside its clients: a torrent file of a directory, and a tracker.

python -m bench.torrent DIRECTORY TORRENT ANNOUNCE_URL
"""

from __future__ import annotations

import hashlib
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import inet_aton
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

PIECE_BYTES = 2**20
INTERVAL_S = 1800

Bencodable: TypeAlias = "int | bytes | str | list[Any] | dict[str, Any]"


def bencode(value: Bencodable) -> bytes:
    """BEP 3; keys of dictionaries are ASCII."""
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, list):
        return b"l" + b"".join(bencode(item) for item in value) + b"e"
    return b"d" + b"".join(bencode(key) + bencode(value[key]) for key in sorted(value)) + b"e"


def make(directory: Path, announce: str) -> bytes:
    """A v1 torrent of all files below the directory, called as it is."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    hashes = bytearray()
    piece = bytearray()
    for path in paths:
        with path.open("rb") as file:
            while part := file.read(PIECE_BYTES - len(piece)):
                piece += part
                if len(piece) == PIECE_BYTES:
                    hashes += hashlib.sha1(piece).digest()
                    piece.clear()
    if piece:
        hashes += hashlib.sha1(piece).digest()
    files = [
        {"length": path.stat().st_size, "path": list(path.relative_to(directory).parts)} for path in paths
    ]
    info = {
        "files": files,
        "name": directory.name,
        "piece length": PIECE_BYTES,
        "pieces": bytes(hashes),
        "private": 1,
    }
    return bencode({"announce": announce, "info": info})


class Tracker:
    """Tells each client whom it met before. Made where it shall listen, since sockets belong to namespaces."""

    def __init__(self, address: str) -> None:
        peers: dict[str, bytes] = {}

        class Announce(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                port = int(parse_qs(urlsplit(self.path).query)["port"][0])
                me = self.client_address[0]
                known = b"".join(compact for who, compact in peers.items() if who != me)
                peers[me] = inet_aton(me) + port.to_bytes(2, "big")
                body = bencode({"interval": INTERVAL_S, "peers": known})
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                """Silence: the benchmark prints its own lines."""

        self._server = ThreadingHTTPServer((address, 0), Announce)
        self.url = f"http://{address}:{self._server.server_port}/announce"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(make(Path(sys.argv[1]), sys.argv[3]))
