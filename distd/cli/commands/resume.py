"""`distctl resume`: go on where a pause stopped."""

from __future__ import annotations

from distd.cli.steering import steering_command

command = steering_command("resume", "Resume a paused pull.", "POST", "/resume")
