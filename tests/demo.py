"""`make demo`: the main job once, for real, with what it did counted at the end.

A local Hub with a synthetic model (or the real one with `--repo org/name`), a daemon, one
`distctl pull`, and the result loaded by huggingface_hub and safetensors with HF_HUB_OFFLINE=1.
Everything is written below `.demo/` in the checkout and can be deleted.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.hub import HubProcess, ModelSpec, generate

PROGRAMS = Path(sys.executable).parent
SYNTHETIC_REPO = "acme/llama-tiny"
SYNTHETIC_BYTES = 256 * 2**20
LOCAL_HUB_BYTES_PER_S = 120e6
"""About a gigabit link, so that there is progress to see."""
READY_TIMEOUT_S = 20.0

LOADER = """
import sys
from pathlib import Path
from huggingface_hub import snapshot_download
from safetensors import safe_open

path = Path(snapshot_download(sys.argv[1]))
tensors = size = 0
for shard in sorted(path.glob("*.safetensors")):
    with safe_open(shard, framework="numpy") as opened:
        for name in opened.keys():
            tensors += 1
            size += opened.get_tensor(name).nbytes if size < 10**9 else 0
print(f"huggingface_hub found {sum(p.is_file() for p in path.rglob('*'))} files offline at {path}")
if tensors:
    print(f"safetensors opened {tensors} tensors and read {size / 1e6:.0f} MB of them")
"""


@dataclass(frozen=True)
class Source:
    """Where the demo pulls from. `hub` None: the real one."""

    repo: str
    endpoint: str
    hub: HubProcess | None


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repo", help="org/name on the real Hub")
    arguments = parser.parse_args()
    work = Path(".demo").absolute()
    with contextlib.ExitStack() as stack:
        if arguments.repo:
            endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
            source = Source(arguments.repo, endpoint, None)
        else:
            shutil.rmtree(work, ignore_errors=True)
            source = stack.enter_context(_local_hub(work))
        url = stack.enter_context(_daemon(work, source.endpoint))
        return _pull_and_load(source, url, work / "state" / "hub")


@contextlib.contextmanager
def _local_hub(work: Path) -> Iterator[Source]:
    say("making a synthetic model of 256 MiB in 4 shards, and starting a local Hub that serves it")
    generate(ModelSpec(seed=1, weight_bytes=SYNTHETIC_BYTES, shards=4), work / "model")
    with HubProcess({SYNTHETIC_REPO: work / "model"}, rate_bytes_per_s=LOCAL_HUB_BYTES_PER_S) as hub:
        yield Source(SYNTHETIC_REPO, hub.url, hub)


@contextlib.contextmanager
def _daemon(work: Path, endpoint: str) -> Iterator[str]:
    """A running daemon's URL; it is stopped at the end."""
    work.mkdir(parents=True, exist_ok=True)
    log = work / "distd.log"
    settings = {
        "node.state_dir": str(work / "state"),
        "hub.endpoint": endpoint,
        "api.listen": "127.0.0.1:0",
        "node.log_format": "text",
    }
    command = [str(PROGRAMS / "distd")]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    say(f"starting the daemon (its log: {log})")
    with log.open("w") as stream, subprocess.Popen(command, stderr=stream) as daemon:
        try:
            yield _wait_ready(log, daemon)
        finally:
            daemon.terminate()


def _wait_ready(log: Path, daemon: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline and daemon.poll() is None:
        for word in log.read_text().replace(",", " ").split():
            if word.startswith("http://127.0.0.1:"):
                return word
        time.sleep(0.05)
    raise SystemExit(f"the daemon did not start; its log says:\n{log.read_text()}")


def _pull_and_load(source: Source, url: str, cache: Path) -> int:
    distctl = [str(PROGRAMS / "distctl"), "--url", url]
    say(f"distctl pull {source.repo}")
    started = time.monotonic()
    pulled = subprocess.run([*distctl, "pull", source.repo], check=False)
    wall_s = time.monotonic() - started
    if pulled.returncode:
        return pulled.returncode
    say("distctl ls")
    subprocess.run([*distctl, "ls"], check=True)
    say("loading it with HF_HUB_OFFLINE=1, as a model server would")
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache)}
    loaded = subprocess.run([sys.executable, "-c", LOADER, source.repo], env=offline, check=False)
    if loaded.returncode:
        return loaded.returncode
    if source.hub is not None:
        sent = source.hub.counters()["body_bytes"]
        size = sum(
            path.stat().st_size for path in (cache.parent.parent / "model").rglob("*") if path.is_file()
        )
        say(
            f"the Hub sent {sent / 1e6:.1f} MB for a model of {size / 1e6:.1f} MB: {sent / size:.2f} copies,"
            f" in {wall_s:.1f} s ({wall_s / (size / LOCAL_HUB_BYTES_PER_S):.2f} x the ideal on its link)"
        )
        return 0 if sent == size else 1
    return 0


def say(text: str) -> None:
    print(f"\n==> {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
