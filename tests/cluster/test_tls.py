"""Members behind mutual TLS: they talk as before, strangers do not get as far as HTTP, and certificates are renewed."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest

from peers import cluster_server
from peers.cluster import Cluster
from peers.cluster_errors import CallRefused, MemberUnreachable
from peers.tls import TlsFiles, TlsIdentity, TlsUnusable, load
from tests.cluster.test_transport import Collected
from tests.cluster.worlds import SECRET, World, speak, until
from tests.peers.authority import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


async def two(world: World, authority: Authority) -> tuple[Cluster, Cluster]:
    first = await world.start("m0", tls=authority.identity("m0"))
    second = await world.start("m1", (first.address,), tls=authority.identity("m1"))
    await until(lambda: "m1" in first.live and "m0" in second.live, "both know each other")
    return first, second


async def test_members_call_and_stream_over_tls(world: World, authority: Authority) -> None:
    first, second = await two(world, authority)
    assert await first.call("m1", "echo", b"hello" * 100_000, 5.0) == b"m0 says " + b"hello" * 100_000
    sink = Collected()
    assert await second.fetch("m0", "count", {"parts": "3", "part_bytes": "100"}, sink, 1 << 20) == 300


async def test_the_secret_is_asked_for_behind_tls_too(world: World, authority: Authority) -> None:
    from peers.secret import generate, parse

    first, _ = await two(world, authority)
    other = await world.start(
        "m2", (first.address,), tls=authority.identity("m2"), secret=parse(generate(), "another")
    )
    await until(lambda: first.address in other.troubles(), "a refusal")
    assert "secret" in other.troubles()[first.address]
    assert other.live == {"m2"}


@pytest.mark.parametrize("kind", ["plain", "no certificate", "foreign certificate"])
async def test_a_stranger_gets_no_http(world: World, authority: Authority, tmp_path: Path, kind: str) -> None:
    member = await world.start("m0", tls=authority.identity("m0"))
    asked = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    if kind == "plain":
        answer = await speak(member.address, asked)
        assert answer[:1] in (b"", b"\x15")  # an alert of TLS
        assert len(answer) <= 7
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if kind == "foreign certificate":
        files = Authority(tmp_path / "foreign").member("intruder")
        context.load_cert_chain(files.cert, files.key)
    host, port = member.address.split(":")
    answer = b""
    try:
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
            writer.write(asked)
            answer = await reader.read()
            writer.transport.abort()
    except (ConnectionError, ssl.SSLError):
        pass
    assert answer == b""
    assert world.served == {}


async def test_a_member_does_not_talk_to_who_shows_a_foreign_certificate(
    world: World, authority: Authority, tmp_path: Path
) -> None:
    impostor = await world.start("m0", tls=Authority(tmp_path / "foreign").identity("m0"))
    member = await world.start("m1", (impostor.address,), tls=authority.identity("m1"))
    await until(lambda: impostor.address in member.troubles(), "a refusal")
    assert "certificate" in member.troubles()[impostor.address].lower()
    assert member.live == {"m1"}


async def test_a_member_speaks_by_the_name_in_its_certificate_only(
    world: World, authority: Authority
) -> None:
    first, _ = await two(world, authority)
    liar = await world.start("m7", (first.address,), tls=authority.identity("m8"))
    await until(lambda: first.address in liar.troubles(), "a refusal")
    assert "the certificate shown is for m8, not m7" in liar.troubles()[first.address]
    assert "m7" not in first.live
    assert world.served == {}


async def test_silent_strangers_before_the_handshake_do_not_keep_a_member_out(
    world: World, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_server, "STRANGERS_MAX", 8)
    first, second = await two(world, authority)
    host, port = second.address.split(":")
    strangers = [await asyncio.open_connection(host, int(port)) for _ in range(30)]
    await asyncio.wait_for(strangers[0][0].read(), 5)  # the oldest is ended
    assert await first.call("m1", "echo", b"", 5.0) == b"m0 says "
    assert second._server._listener is not None
    assert len(second._server._listener._strangers) <= 8
    for _, writer in strangers:
        writer.transport.abort()


async def test_a_handshake_that_dribbles_in_is_cut(
    world: World, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_server, "HANDSHAKE_S", 0.3)
    member = await world.start("m0", tls=authority.identity("m0"))
    host, port = member.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"\x16\x03\x01\x02\x00\x01")
    async with asyncio.timeout(10):
        try:
            while await reader.read(100):
                pass
        except ConnectionError:
            pass
    assert member._server._listener is not None
    assert not member._server._listener._strangers
    writer.transport.abort()


async def test_renewed_certificates_are_used_at_once_and_end_nothing(
    world: World, authority: Authority
) -> None:
    first, second = await two(world, authority)
    shown = [await certificate_of(second, authority)]
    sink = Collected()
    stream = asyncio.create_task(
        first.fetch("m1", "count", {"parts": "200", "part_bytes": "100000"}, sink, 1 << 30)
    )
    await until(lambda: bool(sink.parts), "the stream to begin")
    for cluster in (first, second):
        cluster.change_credentials(SECRET, authority.identity(cluster.me))
    shown.append(await certificate_of(second, authority))
    assert await stream == 20_000_000
    assert await first.call("m1", "echo", b"", 5.0) == b"m0 says "
    assert shown[0] != shown[1]


async def test_who_shows_a_revoked_certificate_is_refused_at_once_and_the_others_go_on(
    world: World, authority: Authority
) -> None:
    first, second = await two(world, authority)
    stolen_identity = authority.identity("m2")
    stolen = await world.start("m2", (first.address,), tls=stolen_identity)
    await until(lambda: "m2" in second.live and "m1" in stolen.live, "all know each other")
    assert await stolen.call("m0", "echo", b"", 5.0) == b"m2 says "
    authority.revoke("m2")
    for cluster in (first, second):
        cluster.change_credentials(SECRET, authority.again(cluster.me))
    # Its connections from before are open.
    with pytest.raises(CallRefused, match="certificate_revoked"):
        await stolen.call("m0", "echo", b"", 5.0)
    with pytest.raises(MemberUnreachable, match="revoked"):
        await first.call("m2", "echo", b"", 5.0)
    # Nor does it get as far as HTTP on new ones.
    assert await answer_to(first, authority.identity("m4")) != b""
    assert await answer_to(first, stolen_identity) == b""
    await until(lambda: "revoked" in stolen.troubles().get(first.address, ""), "it to be told why")
    await until(lambda: first.live == second.live == {"m0", "m1"}, "it to be dead for the others")
    assert await first.call("m1", "echo", b"", 5.0) == b"m0 says "
    with pytest.raises(TlsUnusable, match="it is revoked by"):
        authority.again("m2")
    again = await world.start("m3", (first.address,), tls=authority.identity("m3"))
    await until(lambda: "m3" in second.live and "m1" in again.live, "a new certificate to count")


async def answer_to(cluster: Cluster, identity: TlsIdentity) -> bytes:
    """What is said over HTTP to whoever shows this certificate."""
    host, port = cluster.address.split(":")
    answer = b""
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            reader, writer = await asyncio.open_connection(host, int(port), ssl=identity.asking)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = await reader.read()
            writer.transport.abort()
    return answer


async def certificate_of(cluster: Cluster, authority: Authority) -> bytes:
    host, port = cluster.address.split(":")
    async with asyncio.timeout(10):
        _, writer = await asyncio.open_connection(host, int(port), ssl=authority.identity("looker").asking)
    shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return shown


async def test_without_a_secret_tls_alone_makes_members(world: World, authority: Authority) -> None:
    first = await world.start("m0", secret=None, tls=authority.identity("m0"))
    second = await world.start("m1", (first.address,), secret=None, tls=authority.identity("m1"))
    await until(lambda: "m0" in second.live, "the first is known")
    assert await second.call("m0", "echo", b"x", 5.0) == b"m1 says x"
    with pytest.raises(ValueError, match="next start"):
        first.change_credentials(SECRET, authority.identity("m0"))


def test_without_certificates_the_library_that_judges_them_is_not_loaded() -> None:
    program = "import distd.main, distd.sharing.member_files, sys; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


DAY_S = 86_400.0


async def test_what_is_no_good_certificate_is_named(authority: Authority, tmp_path: Path) -> None:
    files, now = authority.member("m0"), time.time()
    foreign = Authority(tmp_path / "foreign")
    open_key = tmp_path / "open.key"
    open_key.write_text(Path(files.key).read_text())
    open_key.chmod(0o644)
    wrong: list[tuple[TlsFiles, float, str]] = [
        (TlsFiles(files.cert, files.key, str(foreign.ca_file)), now, "no CA in"),
        (TlsFiles(files.cert, foreign.member("x").key, files.ca), now, "does not fit"),
        (TlsFiles(files.cert, str(open_key), files.ca), now, "others than its owner"),
        (TlsFiles(files.key, files.key, files.ca), now, "no certificate"),
        (TlsFiles(files.cert, files.key, str(tmp_path / "none")), now, "No such file"),
        (TlsFiles(files.cert, files.key, str(tmp_path)), now, "not a regular file"),
        (files, now + 800 * DAY_S, "valid from"),
        (TlsFiles(str(authority.ca_file), files.key, files.ca), now, "lacks the name"),
    ]
    for broken, when, reason in wrong:
        with pytest.raises(TlsUnusable, match=reason):
            load(broken, when)
    authority.revoke("m0")
    other = authority.member("m1")
    lists: list[tuple[str | Path, str, float, str]] = [
        (tmp_path / "none", files.ca, now, "No such file"),
        (authority.ca_file, files.ca, now, "holds no list of the CA"),
        (other.crl, str(both_cas(tmp_path, authority, foreign)), now, "holds no list of the CA"),
        (broken_list(tmp_path), files.ca, now, "cannot be read"),
    ]
    for crl, ca, when, reason in lists:
        with pytest.raises(TlsUnusable, match=reason):
            load(TlsFiles(other.cert, other.key, ca, str(crl)), when)
    assert load(files, now).warnings == ()
    assert "renew it" in load(files, now + 710 * DAY_S).warnings[0]
    assert "PRIVATE" not in repr(load(files, now))


def both_cas(folder: Path, *authorities: Authority) -> Path:
    path = folder / "both.pem"
    path.write_text("".join(each.ca_file.read_text() for each in authorities))
    return path


def broken_list(folder: Path) -> Path:
    path = folder / "broken.pem"
    path.write_text("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")
    return path
