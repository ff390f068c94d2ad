"""`distctl pin`: protect from removal."""

from __future__ import annotations

from distd.cli.pinning import pinning_command

command = pinning_command("pin", "Protect a held repo from removal.", "PUT")
