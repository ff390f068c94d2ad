"""What Schemathesis has to be told of this API; loaded by it, see `conformance.py`."""

from __future__ import annotations

import os
from pathlib import Path

import schemathesis
from hypothesis import strategies as st

ARCHIVE = Path(os.environ["CONFORMANCE_ARCHIVE"]).read_bytes()

# A file to import: a right one, one that was cut off, anything.
schemathesis.openapi.media_type(
    "application/x-tar",
    st.one_of(
        st.just(ARCHIVE),
        st.integers(0, len(ARCHIVE)).map(lambda end: ARCHIVE[:end]),
        st.binary(max_size=2048),
    ),
)
