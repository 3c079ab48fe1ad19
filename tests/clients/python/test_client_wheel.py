"""The wheel of ``clients/python`` has its types, its data and its license."""

import subprocess
import sys
import zipfile
from pathlib import Path

CLIENT = Path(__file__).parents[3] / "clients" / "python"


def test_the_wheel_has_every_file_of_the_package_and_the_license(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=CLIENT,
        check=True,
        capture_output=True,
        timeout=120,
    )
    [file] = tmp_path.glob("*.whl")
    listed = set(zipfile.ZipFile(file).namelist())
    files = (CLIENT / "ai_orchestrator").rglob("*.*")
    kept = {f.relative_to(CLIENT).as_posix() for f in files if f.suffix != ".pyc" and f.is_file()}

    assert "ai_orchestrator/py.typed" in kept
    assert kept - listed == set()
    assert any(name.endswith("licenses/LICENSE") for name in listed)


def test_the_license_is_that_of_the_project() -> None:
    assert (CLIENT / "LICENSE").read_bytes() == (CLIENT.parents[1] / "LICENSE").read_bytes()
