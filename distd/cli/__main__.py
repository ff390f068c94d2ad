"""`python -m distd.cli` is `distctl`."""

from distd.cli.main import run

run()
