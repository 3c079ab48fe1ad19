"""Run one seed with its trace, or many without.

python -m tests.simulation 17
python -m tests.simulation 17 --off redo
python -m tests.simulation --seeds 20000 --start 0
"""

import argparse
import sys

from tests.simulation.run import run
from tests.simulation.seeds import outcomes, report
from tests.simulation.switches import SWITCHES


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("seed", type=int, nargs="?", help="run this one, and print its trace")
    parser.add_argument("--off", choices=SWITCHES, help="leave out a rule of the protocol")
    parser.add_argument("--seeds", type=int, default=2_000, help="how many, without a seed")
    parser.add_argument("--start", type=int, default=0, help="the first of them")
    given = parser.parse_args()
    if given.seed is None:
        return _many(range(given.start, given.start + given.seeds), given.off)
    return _one(given.seed, given.off)


def _one(seed: int, off: str | None) -> int:
    outcome = run(seed, off=off, trace=True)
    print("\n".join(outcome.trace))
    print(f"seed {seed}: {outcome.violation or 'no violation'}")
    return outcome.violation is not None


def _many(seeds: range, off: str | None) -> int:
    epochs = ignored = 0
    for count, outcome in enumerate(outcomes(seeds, off=off), start=1):
        if outcome.violation is not None:
            print(report(outcome, off=off))
            return 1
        epochs, ignored = epochs + outcome.epochs, ignored + outcome.ignored
        if count % 1_000 == 0:
            print(f"{count} seeds: {epochs} takeovers, {ignored} events of zombies", flush=True)
    print(f"no violation in {len(seeds)} seeds from {seeds.start}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
