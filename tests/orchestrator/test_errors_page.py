"""docs/errors.md lists every code, and no other."""

import re
from pathlib import Path

ROOMS = ("schemas", "tasks", "streams", "sinks", "agents", "orchestrator")
# Upper snake in quotes that is no error code.
OTHERS = re.compile(
    r"ORCH_|GRPC_|JAVA_|XDG_|COLUMNS|^(POISON|PERMANENT|TRANSIENT|TIMEOUT|REJECTED)"
)
DEMO = Path("orchestrator/local/demo")


def codes_in_the_source() -> set[str]:
    found: set[str] = set()
    for room in ROOMS:
        for path in Path(room).rglob("*.py"):
            if DEMO not in path.parents and "gen" not in path.parts:
                text = path.read_text("utf-8")
                found |= set(re.findall(r'code(?:: str)? = "([A-Z_]+)"', text))
                found |= set(re.findall(r'Error\(\s*"([A-Z]+(?:_[A-Z]+)+)"', text))
                found |= set(re.findall(r'Verdict\([^)]*"([A-Z]+(?:_[A-Z]+)+)"', text))
    return {code for code in found if not OTHERS.search(code)}


def codes_on_the_page() -> set[str]:
    page = Path("docs/errors.md").read_text("utf-8")
    return set(re.findall(r"^\| `([A-Z_]+)`", page, re.MULTILINE))


def test_every_code_of_the_source_is_on_the_page() -> None:
    assert codes_in_the_source() - codes_on_the_page() == set()


def test_every_code_on_the_page_is_in_the_source() -> None:
    source = "\n".join(
        path.read_text("utf-8") for room in ROOMS for path in Path(room).rglob("*.py")
    )

    assert [code for code in codes_on_the_page() if f'"{code}"' not in source] == []


def test_the_source_is_really_searched() -> None:
    assert {"KEY_MISMATCH", "INTERNAL", "TASK_TYPE_UNKNOWN"} <= codes_in_the_source()
