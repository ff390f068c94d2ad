"""`make shapes`: members that are hosts of their own, in networks of different shapes. Needs namespaces, as `make fleet` does."""

from __future__ import annotations

import os
import sys

from bench.netns import Unavailable, launch
from tests.shapes.conftest import INSIDE


def main() -> int:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-s",
        "-p",
        "no:cacheprovider",
        *(sys.argv[1:] or ["tests/shapes"]),
    ]
    try:
        return launch(command, {**os.environ, INSIDE: "1"})
    except Unavailable as error:
        print(f"shapes: {error}", file=sys.stderr)
        return 3


if __name__ == "__main__":
    raise SystemExit(main())
