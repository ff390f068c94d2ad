"""A small model, a running Hub, and the official client held apart from this user's settings."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants, file_download
from huggingface_hub.utils import _http

from tests.hub import HubServer, ModelSpec, generate

MIB = 1024 * 1024


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 MiB of weights in one shard, nested and awkward paths."""
    directory = tmp_path_factory.mktemp("hub") / "tiny"
    generate(ModelSpec(seed=7, weight_bytes=16 * MIB, nested=True), directory)
    return directory


@pytest.fixture
async def hub() -> AsyncIterator[HubServer]:
    async with HubServer() as server:
        yield server


@pytest.fixture(autouse=True)
def _plain_client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """HTTP only, no token of this machine, and no connection kept from one test's Hub to the next."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(tmp_path / "agent-harnesses.json"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    huggingface_hub.close_session()
    yield
    huggingface_hub.close_session()


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the client would have slept between attempts; it does not."""
    asked: list[float] = []
    clock: dict[str, Any] = {name: getattr(time, name) for name in ("time", "monotonic", "perf_counter")}
    impatient = SimpleNamespace(sleep=asked.append, **clock)
    monkeypatch.setattr(_http, "time", impatient)
    monkeypatch.setattr(file_download, "time", impatient)
    return asked
