"""The official client's calls, off the event loop that serves it."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download

from tests.hub import HubServer


async def download(hub: HubServer, repo_id: str, cache_dir: Path, **options: Any) -> Path:
    """`snapshot_download` in a thread; anonymous unless a token is given."""
    options.setdefault("token", False)
    call = partial(snapshot_download, repo_id, endpoint=hub.url, cache_dir=cache_dir, **options)
    return Path(await asyncio.to_thread(call))


async def ask(hub: HubServer, method: str, *arguments: Any, **options: Any) -> Any:
    """A method of HfApi in a thread; what it yields becomes a list."""
    options.setdefault("token", False)

    def call() -> Any:
        answer = getattr(HfApi(endpoint=hub.url), method)(*arguments, **options)
        return list(answer) if hasattr(answer, "__next__") else answer

    return await asyncio.to_thread(call)


def files_below(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and ".cache" not in path.parts
    }
