"""A file with steps is taken again when it changes, and a broken one is said in one line."""

from pathlib import Path

import pytest

from ai_orchestrator import Steps
from ai_orchestrator.steps.step_file import StepFile

GOOD = """
from ai_orchestrator import serve, step

@step("shout")
def shout(given):
    return {word!r}

serve()
"""


def answer(steps: Steps) -> object:
    declared = steps.get("shout")
    assert declared is not None
    return declared.function({})


def test_a_change_is_taken_and_no_change_is_not(tmp_path: Path) -> None:
    path = tmp_path / "changed_steps.py"
    path.write_text(GOOD.format(word="one"))
    file = StepFile(path)

    assert file.look() == "changed_steps.py: taken: shout"
    assert file.look() is None

    path.write_text(GOOD.format(word="three"))
    old = file.steps

    assert file.look() == "changed_steps.py: taken: shout"
    assert (answer(old), answer(file.steps)) == ("one", "three")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("def shout(:\n", "SyntaxError: invalid syntax (broken_steps.py, line 1)"),
        ("\n1 / 0\n", "ZeroDivisionError: division by zero (broken_steps.py, line 2)"),
        ("import not_there_at_all\n", "ModuleNotFoundError: No module named 'not_there_at_all'"),
        ("", "ValueError: no function is declared with @step"),
    ],
)
def test_a_broken_file_is_one_line_and_the_last_good_one_goes_on(
    tmp_path: Path, text: str, fault: str
) -> None:
    path = tmp_path / "broken_steps.py"
    path.write_text(GOOD.format(word="good"))
    file = StepFile(path)
    file.look()
    path.write_text(text)

    said = file.look()

    assert said is not None
    assert said.startswith(f"broken_steps.py: not taken: {fault}")
    assert said.endswith("shout go on as before")
    assert "\n" not in said
    assert answer(file.steps) == "good"
    assert file.look() is None


def test_a_change_of_a_module_beside_the_file_is_taken(tmp_path: Path) -> None:
    (tmp_path / "words_beside.py").write_text("WORD = 'one'\n")
    path = tmp_path / "importing_steps.py"
    path.write_text("from words_beside import WORD\n" + GOOD.replace("{word!r}", "WORD"))
    file = StepFile(path)
    file.look()
    (tmp_path / "words_beside.py").write_text("WORD = 'three'\n")

    assert file.look() == "importing_steps.py: taken: shout"
    assert answer(file.steps) == "three"


def test_a_broken_module_beside_the_file_is_taken_when_it_is_repaired(tmp_path: Path) -> None:
    path = tmp_path / "hoping_steps.py"
    path.write_text("import broken_beside\n" + GOOD.format(word="good"))
    (tmp_path / "broken_beside.py").write_text("1 +\n")
    file = StepFile(path)

    assert "SyntaxError: invalid syntax (broken_beside.py, line 1)" in (file.look() or "")
    assert file.look() is None

    (tmp_path / "broken_beside.py").write_text("")

    assert file.look() == "hoping_steps.py: taken: shout"
    assert file.look() is None


def test_a_file_that_is_gone_is_said_and_one_that_comes_back_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "late_steps.py"
    file = StepFile(path)

    assert (file.look() or "").startswith("late_steps.py: not taken: FileNotFoundError")

    path.write_text(GOOD.format(word="late"))

    assert file.look() == "late_steps.py: taken: shout"
