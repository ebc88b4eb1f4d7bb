# ruff: noqa: T201 (a command)
"""Compare the product with the model on many random logs: `python -m tests.model --logs 20000`."""

from __future__ import annotations

import argparse
import sys
import time

from tests.model.compare import check, shrink, story
from tests.model.curves import Unclear
from tests.model.mutations import MUTATIONS, noticed_by

MADE = 300
"""Logs that are kept in memory; as many show each rule broken."""


def main() -> int:
    """Return 1 if there is a difference."""
    parser = argparse.ArgumentParser(description="Compare verdicts on random logs with those of a plain model.")
    parser.add_argument("--logs", type=int, default=2000, help="how many logs (default: 2000)")
    parser.add_argument("--seed", type=int, default=0, help="of the first log (default: 0)")
    parser.add_argument("--most", type=int, default=3, help="differences after which it stops (default: 3)")
    parser.add_argument("--mutate", action="store_true", help="break each rule of the product and see it noticed")
    arguments = parser.parse_args()
    if arguments.mutate:
        seeds = range(arguments.seed, arguments.seed + min(arguments.logs, MADE))
        missed = 0
        for one in MUTATIONS:
            log = noticed_by(one, seeds)
            missed += log is None
            print(f"{'NOT NOTICED' if log is None else f'log {log}':12} {one.rule}", flush=True)
        print(f"{len(MUTATIONS) - missed} of {len(MUTATIONS)} broken rules noticed")
        return 1 if missed else 0
    unclear = differing = 0
    begun = time.monotonic()
    for seed in range(arguments.seed, arguments.seed + arguments.logs):
        try:
            found = check(seed)
        except Unclear:
            unclear += 1
            continue
        if found is not None:
            differing += 1
            offsets, found = shrink(seed)
            print(f"seed {seed}, shrunk to\n{story(seed, offsets)}\n{found}\n")
            if differing >= arguments.most:
                break
    seconds = time.monotonic() - begun
    logs = seed + 1 - arguments.seed
    print(f"{logs} logs in {seconds:.1f} s, {unclear} unclear, {differing} differ")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
