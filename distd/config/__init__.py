"""Configuration: typed sections with their defaults, and how file, environment and `--set` fill them."""

from distd.config.faults import ConfigError, Fault
from distd.config.load import load_config
from distd.config.sections import Config

__all__ = ["Config", "ConfigError", "Fault", "load_config"]
