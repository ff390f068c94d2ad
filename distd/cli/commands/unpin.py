"""`distctl unpin`: allow removal again."""

from __future__ import annotations

from distd.cli.pinning import pinning_command

command = pinning_command("unpin", "Take a pin away.", "DELETE")
