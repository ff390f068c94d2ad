"""Estimates of a real daemon: unknown before anything was measured, right afterwards, and told how right."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.daemon.daemon import DaemonProcess, until
from tests.hub import HubProcess, ModelSpec, generate

MB = 1_000_000
RATE = 8 * MB


def test_what_was_measured_predicts_the_next_pull_and_each_pull_scores_its_estimates(tmp_path: Path) -> None:
    repos = {}
    for number, (name, size_bytes) in enumerate({"first": 32 * MB, "second": 16 * MB}.items()):
        generate(ModelSpec(seed=number, weight_bytes=size_bytes, shards=1), tmp_path / name)
        repos[f"acme/{name}"] = tmp_path / name
    generate(ModelSpec(seed=3, weight_bytes=8192, small_files=40), tmp_path / "files")
    repos["acme/files"] = tmp_path / "files"
    with HubProcess(repos, rate_bytes_per_s=RATE) as hub, DaemonProcess(tmp_path / "node", hub.url) as node:
        plan = node.get("/v1/plan?repo=acme/first")
        assert (plan["eta_s"], plan["unknown_reason"]) == (None, "no pull from this Hub was measured yet")

        first = node.submit("acme/first")["id"]
        seen = until(
            lambda: view if (view := node.view(first))["bytes_done"] >= 23 * MB else None, "most of it", 30
        )
        left_s = (seen["bytes_total"] - seen["bytes_done"]) / RATE
        assert seen["limited_by"] == "hub"
        assert seen["eta_low_s"] <= seen["eta_s"] <= seen["eta_high_s"]
        assert seen["eta_s"] == pytest.approx(left_s, rel=0.4, abs=1.0)
        done = node.wait(first)
        assert (done["eta_s"], done["limited_by"]) == (0.0, None)
        until(lambda: "estimated" in node.events(first), "its score")

        guess = node.get("/v1/estimate?repo=acme/second")
        began = time.monotonic()
        node.pulled("acme/second")
        assert guess["eta_s"] == pytest.approx(time.monotonic() - began, rel=0.35, abs=0.5)
        assert guess["limited_by"] == "hub"

        files = node.get("/v1/estimate?repo=acme/files")
        assert (files["eta_s"], files["unknown_reason"]) == (
            None,
            "no pull of many small files was measured yet",
        )

        sources = {(each["source"], each["peer"]): each for each in node.get("/v1/rates")["items"]}
        measured = sources["hub", None]["hours"][-1]
        assert measured["bytes"] >= 32 * MB
        assert measured["rate_bytes_per_s"] == pytest.approx(RATE, rel=0.3)
        node.restart()
        assert node.get("/v1/estimate?repo=acme/second")["bytes_reused"] > 16 * MB
        kept = {each["source"]: each["hours"] for each in node.get("/v1/rates")["items"]}
        assert sum(hour["bytes"] for hour in kept["hub"]) >= 48 * MB
