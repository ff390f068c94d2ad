"""`distctl pin`: keep from eviction."""

from __future__ import annotations

from distd.cli.pinning import pinning_command

command = pinning_command("pin", "Keep a repo from being evicted.", "PUT")
