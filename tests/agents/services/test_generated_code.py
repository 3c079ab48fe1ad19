"""The committed code in ``schemas/gen`` is what the protos give."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
PROTOS = ROOT / "schemas" / "proto"
GENERATED = ROOT / "schemas" / "gen"


def test_the_generated_code_is_fresh(tmp_path: Path) -> None:
    """A failure means: run ``make proto`` and commit what it writes."""
    protos = sorted(path.relative_to(PROTOS) for path in PROTOS.rglob("*.proto"))
    # protoc finds its plugins for mypy beside the interpreter, wherever the environment is.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    subprocess.run(
        [
            sys.executable,
            *("-m", "grpc_tools.protoc", "-I", "schemas/gen=schemas/proto"),
            *(f"--{plugin}_out={tmp_path}" for plugin in PLUGINS),
            *(f"schemas/gen/{proto}" for proto in protos),
        ],
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        check=True,
        capture_output=True,
        timeout=60,
    )

    assert protos
    assert contents_of(GENERATED) == contents_of(tmp_path / "schemas" / "gen")


PLUGINS = ("python", "mypy", "grpc_python", "mypy_grpc")


def contents_of(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for pattern in ("*.py", "*.pyi")
        for path in sorted(folder.rglob(pattern))
        if path.name != "__init__.py"
    }
