"""`distctl pause`: stop fetching, keep what is there."""

from __future__ import annotations

from distd.cli.steering import steering_command

command = steering_command("pause", "Pause a pull.", "POST", "/pause")
