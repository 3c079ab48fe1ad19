"""The wheel: every package with its types and data, the license, and metadata for an index."""

import email.message
import email.parser
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = ("schemas", "tasks", "streams", "sinks", "agents", "orchestrator")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        check=True,
        capture_output=True,
        timeout=120,
    )
    [file] = folder.glob("*.whl")
    with zipfile.ZipFile(file) as opened:
        yield opened


def metadata(wheel: zipfile.ZipFile) -> email.message.Message:
    [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return email.parser.Parser().parsestr(wheel.read(name).decode())


def test_every_package_ships_its_types_and_every_file_of_its_folder(wheel: zipfile.ZipFile) -> None:
    listed = set(wheel.namelist())
    files = (file for package in PACKAGES for file in Path(package).rglob("*.*"))
    kept = (file for file in files if file.is_file() and file.suffix != ".pyc")

    assert {f"{package}/py.typed" for package in PACKAGES} <= listed
    assert {file.as_posix() for file in kept} - listed == set()


def test_the_license_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    [name] = [name for name in wheel.namelist() if name.endswith("licenses/LICENSE")]

    assert wheel.read(name) == Path("LICENSE").read_bytes()
    assert metadata(wheel)["License-Expression"] == "Apache-2.0"


def test_the_metadata_says_what_the_project_is(wheel: zipfile.ZipFile) -> None:
    found = metadata(wheel)

    assert found["Name"] == "ai-orchestrator"
    assert found["Description-Content-Type"] == "text/markdown"
    assert "# AI Orchestrator" in str(found.get_payload())
    assert "kafka" in found["Keywords"]
    assert "Typing :: Typed" in (found.get_all("Classifier") or ())
