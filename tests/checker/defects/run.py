"""Makes each defect in a copy of the tree, and demands that the checker finds it.

``python -m tests.checker.defects.run [NAME ...]``; without names: the sound tree first, which
has to pass every scenario, then all defects. Exits with 1 if one was not found.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.checker.defects.patches import Defect, apply, copy_tree, read_defects

_RUN_S = 1_200.0
"""For all scenarios on a busy machine."""
_MARK = "DEFECT_CODES "


def run_scenarios(tree: Path, scenario: str = "") -> tuple[int, str]:
    """Run one scenario, or all, in a tree; return pytest's exit code and its output."""
    path = "tests/checker/defects/scenarios.py" + (f"::{scenario}" if scenario else "")
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", path]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    with subprocess.Popen(
        command,
        cwd=tree,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as running:
        try:
            output, _ = running.communicate(timeout=_RUN_S)
        except subprocess.TimeoutExpired:
            # An interrupt, not a kill: pytest stops the servers that it has started.
            running.send_signal(signal.SIGINT)
            output, _ = running.communicate()
    return running.returncode, output


def codes_of(output: str) -> set[str]:
    """The violations that the checker found, as the scenario printed them."""
    lines = [line for line in output.splitlines() if _MARK in line]
    return {code for line in lines for code in json.loads(line.split(_MARK, 1)[1])}


def is_found(defect: Defect) -> bool:
    """Make a defect, run its scenario, and print what came of it."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="defect-") as folder:
        tree = Path(folder) / "tree"
        copy_tree(tree)
        refused = apply(defect, tree)
        if refused:
            print(f"{defect.name}: does not apply\n{refused}", flush=True)
            return False
        returncode, output = run_scenarios(tree, defect.scenario)
    codes = codes_of(output)
    # Anything else than a failed test, a start that broke for one, proves nothing.
    found = returncode == 1 and bool(codes & defect.codes)
    verdict = "found" if found else f"NOT FOUND (exit {returncode})"
    took = f"{time.monotonic() - begun:.0f} s"
    print(f"{defect.name}: {verdict} by {sorted(codes)} in {took} ({defect.scenario})", flush=True)
    if not found:
        print(output[-6000:], flush=True)
    return found


def is_sound() -> bool:
    """Whether the tree as it is passes every scenario."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="defect-") as folder:
        tree = Path(folder) / "tree"
        copy_tree(tree)
        returncode, output = run_scenarios(tree)
    print(f"no defect: exit {returncode} in {time.monotonic() - begun:.0f} s", flush=True)
    if returncode:
        print(output[-6000:], flush=True)
    return returncode == 0


def main(names: list[str]) -> int:
    """Run what was asked for; 0 if all of it came out as it has to."""
    defects = [d for d in read_defects() if not names or d.name in names]
    sound = bool(names) or is_sound()
    found = [is_found(defect) for defect in defects]
    print(f"the checker found {sum(found)} of {len(found)} defects")
    return 0 if sound and found and all(found) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
