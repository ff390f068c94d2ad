from __future__ import annotations

import mmap
import os
import subprocess
import time
from pathlib import Path

import pytest

from distd.store.use import is_open, last_read, note_read, open_unmarked, reads_are_known


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    path = tmp_path / "blob"
    path.write_bytes(b"weights" * 1000)
    path.chmod(0o444)
    return path


def let_the_clock_tick() -> None:
    """File times have the granularity of the kernel's tick, at most 10 ms."""
    time.sleep(0.03)


def test_an_open_or_mapped_file_is_seen_whoever_has_it(blob: Path) -> None:
    assert not is_open(blob)
    with blob.open("rb") as file:
        assert is_open(blob)
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    assert is_open(blob), "mapped and closed, as a model server has its weights"
    mapped.close()
    assert not is_open(blob)


def test_a_file_that_another_process_holds_is_seen(blob: Path) -> None:
    script = 'exec 3<"$0"; echo opened; read line'
    with subprocess.Popen(
        ["sh", "-c", script, str(blob)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "opened\n"
        assert is_open(blob)
        other.communicate("\n", timeout=10)
    assert not is_open(blob)


def test_reads_are_seen_one_after_the_other_and_our_own_are_not(blob: Path) -> None:
    if not reads_are_known(blob):
        pytest.skip("the temporary directory is mounted noatime")
    let_the_clock_tick()
    note_read(blob, blob.stat())
    let_the_clock_tick()
    fd = open_unmarked(blob)
    os.read(fd, 100)
    os.close(fd)
    assert last_read(blob.stat()) is None
    for _ in range(2):
        let_the_clock_tick()
        blob.read_bytes()
        stats = blob.stat()
        assert (seen := last_read(stats)) is not None
        assert abs(seen - time.time()) < 60
        note_read(blob, stats)
        assert last_read(blob.stat()) is None, "noted, and the next read will be seen"
        assert blob.stat().st_mtime_ns == stats.st_mtime_ns


def test_a_file_that_is_gone_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        is_open(tmp_path / "none")
