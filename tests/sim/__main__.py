"""Run seeds of the simulated cluster: ``python -m tests.sim --seed N [--members M] [--count C]``."""

from __future__ import annotations

import argparse
import sys
import time

from tests.sim.scenario import SeedFailed, run_seed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--members", type=int, default=None)
    parser.add_argument("--count", type=int, default=1, help="run this many seeds from --seed on")
    args = parser.parse_args()
    failures = 0
    for seed in range(args.seed, args.seed + args.count):
        began = time.monotonic()
        try:
            outcome = run_seed(seed, args.members)
        except SeedFailed as failure:
            failures += 1
            print(failure)
            continue
        print(f"seed={seed} {time.monotonic() - began:.2f}s {outcome}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
