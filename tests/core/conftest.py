"""Property tests look for a counter-example as long as they need: the machine may be busy."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("distd", deadline=None, print_blob=True)
settings.load_profile("distd")
