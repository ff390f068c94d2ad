"""What SIGHUP changes in a daemon that serves."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from distd.config import Config, ConfigError
from distd.config.sections import ClusterSection, LimitsSection, PrefetchEntry
from distd.config.token import read_token
from distd.errors import DistdError
from distd.service_manager import ServiceManager

log = logging.getLogger("distd")

RELOADED = "limits, prefetch, log level, tokens, cluster secret and certificate"


class Reload:
    """What SIGHUP changes while serving: limits, prefetch, the log level, the API's token, the cluster's secret and
    certificate. A bad configuration changes nothing.

    The Hub's token is read anew at each use; other keys take effect at the next start.
    """

    def __init__(self, read: Callable[[], Config]) -> None:
        self._read = read
        self.set_api_token: Callable[[str], None] = lambda _: None
        self.set_limits: Callable[[LimitsSection], None] = lambda _: None
        self.set_credentials: Callable[[ClusterSection], None] = lambda _: None
        self.set_prefetch: Callable[[Sequence[PrefetchEntry]], None] = lambda _: None
        self.set_outcome: Callable[[bool], None] = lambda _: None
        self.manager = ServiceManager({})

    def __call__(self) -> None:
        self.manager.reloading()
        try:
            self._reload()
        finally:
            self.manager.ready()

    def _reload(self) -> None:
        try:
            config = self._read()
            token = read_token(config.api.token_file) if config.api.token_file else None
            self.set_credentials(config.cluster)
        except (ConfigError, DistdError) as error:
            log.error("reload failed, nothing changed: %s", error)
            self.set_outcome(False)
            return
        logging.getLogger().setLevel(config.node.log_level.upper())
        self.set_api_token(token or "")
        self.set_limits(config.limits)
        self.set_prefetch(config.prefetch)
        self.set_outcome(True)
        log.info("reloaded: %s; other keys take effect at the next start", RELOADED)
