"""The start-up check against a package that shadows one of ours.

Our packages have plain top-level names, and other packages may have the same: the PyPI package
``openai-agents`` also installs ``agents``. Python imports the first one on the path, and the
failure would be hard to explain. Called before any other import of ours.
"""

import sys
from importlib.machinery import PathFinder
from importlib.metadata import packages_distributions
from pathlib import Path

PACKAGES = ("schemas", "tasks", "streams", "sinks", "agents", "orchestrator")
# The docstring of each of our packages begins with this.
_MARK = '"""AI Orchestrator, '


def check_packages() -> None:
    """Exit with 1 and a sentence if one of our packages would be imported from elsewhere."""
    problems = [problem for name in PACKAGES if (problem := _problem(name)) is not None]
    if problems:
        sys.exit("\n".join(problems))


def _problem(name: str) -> str | None:
    spec = PathFinder.find_spec(name)
    if spec is None or spec.origin is None:
        return f"the package {name!r} of the AI Orchestrator is not installed"
    if Path(spec.origin).read_text("utf-8").startswith(_MARK):
        return None
    others = [d for d in packages_distributions().get(name, []) if d != "ai-orchestrator"]
    culprit = f"the distribution {others[0]!r}" if others else "another project"
    return (
        f"the package {name!r} at {spec.origin} belongs to {culprit} and hides ours: "
        "remove it, or install the AI Orchestrator in an environment of its own"
    )
