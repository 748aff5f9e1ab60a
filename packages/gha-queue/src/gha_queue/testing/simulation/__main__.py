"""Plays seeds, or tells the story of one: `python -m gha_queue.testing.simulation --help`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from gha_queue.testing.simulation import Story, violation_of

_CHUNK = 500


def _violations(seeds: range) -> dict[int, str]:
    found = ((seed, violation_of(seed)) for seed in seeds)
    return {seed: violation for seed, violation in found if violation is not None}


def _tell(seed: int) -> int:
    story = Story()
    violation = violation_of(seed, story)
    print(story)  # noqa: T201
    print(f"\nBroken: {violation}" if violation else "\nEvery promise was kept.")  # noqa: T201
    return 1 if violation else 0


def _play(first: int, count: int, processes: int) -> int:
    started, played, broken = time.monotonic(), 0, 0
    chunks = [
        range(start, min(start + _CHUNK, first + count))
        for start in range(first, first + count, _CHUNK)
    ]
    with ProcessPoolExecutor(processes) as pool:
        for chunk, violations in zip(chunks, pool.map(_violations, chunks), strict=True):
            played += len(chunk)
            broken += len(violations)
            for seed, violation in violations.items():
                print(f"\rseed {seed}: {violation}")  # noqa: T201
            if sys.stderr.isatty():
                print(f"\r{played} of {count}", end="", file=sys.stderr, flush=True)  # noqa: T201
    seconds = time.monotonic() - started
    print(  # noqa: T201
        f"\r{played} seeds from {first} on in {seconds:.1f} s ({played / seconds:.0f} per second, "
        f"{processes} processes): {broken} violations"
    )
    if broken:
        print("Tell a seed's story with --seed.")  # noqa: T201
    return 1 if broken else 0


def main() -> int:
    """Exit code 0: every promise was kept; 1: one was broken."""
    parser = argparse.ArgumentParser(
        prog="python -m gha_queue.testing.simulation",
        description="Plays queues with crashes, lost answers and late requests, by seeds.",
    )
    parser.add_argument("--seeds", type=int, default=10_000, help="how many (default: 10000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default: 0)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, help="tell the story of this seed alone")
    options = parser.parse_args()
    if options.seed is not None:
        return _tell(options.seed)
    return _play(options.first, options.seeds, options.processes)


if __name__ == "__main__":
    sys.exit(main())
