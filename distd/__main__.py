"""`python -m distd`."""

from distd.main import run

run()
