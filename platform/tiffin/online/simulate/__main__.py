"""`python -m tiffin.online.simulate [--seed N] [--schedules N] [--start N]`: play schedules; 1 when one breaks a promise."""

from __future__ import annotations

import argparse
import secrets
import sys

from tiffin.online.simulate.search import search

__all__ = ["main"]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tiffin.online.simulate", description="Simulate publishers and readers.")
    parser.add_argument("--seed", type=int, default=None, help="of the search; a random one when left out, printed")
    parser.add_argument("--schedules", type=int, default=10_000, help="how many")
    parser.add_argument("--start", type=int, default=0, help="number of the first")
    given = parser.parse_args()
    seed = secrets.randbelow(2**31) if given.seed is None else given.seed
    sys.stderr.write(f"seed {seed}\n")
    played, failure = search(seed=seed, schedules=given.schedules, start=given.start)
    sys.stdout.write(f"{failure or 'no promise was broken'}\n{played} schedules\n")
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
