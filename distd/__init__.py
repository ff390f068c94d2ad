"""distd: model weights on a fleet of GPU servers, each byte fetched once and every byte checked.

The package is the daemon, its store, its Hub client and its command line; ARCHITECTURE.md is the map.
Kept free of imports, because `distctl --help` pays for everything that stands here.
"""

__version__ = "0.1.0"
