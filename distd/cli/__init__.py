"""`distctl`, the command line: a thin client of the API, quick to start.

`main.py` is the door and imports nothing of the rest until a command is chosen; each command is one
file in `commands/`. Data goes to stdout, progress and everything else to stderr.
"""
