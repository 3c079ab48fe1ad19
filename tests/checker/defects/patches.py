"""The patches, and what each of them says about itself."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[2]
_NOT_COPIED = (".git", ".venv", ".orchestrator", ".mypy_cache", ".ruff_cache", "__pycache__")


@dataclass(frozen=True, slots=True)
class Defect:
    """A change of the product that breaks a promise."""

    path: Path
    breaks: str
    """What it breaks, in a sentence."""
    scenario: str
    """The test of ``scenarios.py`` that makes it visible."""
    codes: frozenset[str]
    """The checker has to find at least one of these violations."""

    @property
    def name(self) -> str:
        return self.path.stem


def read_defects() -> list[Defect]:
    """All patches, in the order of their numbers; the first three lines of each are its head."""
    return [_read(path) for path in sorted(FOLDER.glob("*.patch"))]


def _read(path: Path) -> Defect:
    breaks, scenario, codes = path.read_text("utf-8").splitlines()[:3]
    return Defect(
        path=path,
        breaks=breaks.removeprefix("# "),
        scenario=scenario.removeprefix("# scenario: "),
        codes=frozenset(codes.removeprefix("# codes: ").split()),
    )


def copy_tree(target: Path) -> None:
    """Copy the tree as it is, without environments and caches."""
    shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(*_NOT_COPIED))


def apply(defect: Defect, tree: Path, *, only_check: bool = False) -> str:
    """Apply a patch to a tree, or see whether it could be; return why it cannot."""
    command = ["git", "apply", *(["--check"] if only_check else []), str(defect.path)]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""
