"""The commands, one a file: module `name` defines `command`. `distd.cli.main.COMMANDS` lists them."""
