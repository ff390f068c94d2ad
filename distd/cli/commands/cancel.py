"""`distctl cancel`: end a pull; what it fetched stays for the next one."""

from __future__ import annotations

from distd.cli.steering import steering_command

command = steering_command("cancel", "Cancel a pull.", "DELETE", "")
