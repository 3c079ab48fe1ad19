"""docs/security.md: its tables are those of the code, and its commands and files work."""

import json
import re
import shlex
import types
from pathlib import Path

import pytest

from orchestrator.acls import PEOPLE, SERVE, AclOperation, Resource, acls_of
from orchestrator.configuration.load import process_settings
from orchestrator.configuration.page import settings
from orchestrator.layout import DLQ_INDEX, ROUTER, SINK, STEP_PREFIX, topic_table
from orchestrator.pipelines import installed_pipelines
from orchestrator.settings import Settings
from schemas.topics import DLQ_PREFIX, Topics
from tests.api.snippets import Page
from tests.commands import run_command

TEXT = Path("docs/security.md").read_text("utf-8")
SETTINGS = Settings()
TOPICS = Topics(SETTINGS.topics)
PIPELINES = installed_pipelines(SETTINGS.pipelines)
STEP = f"{STEP_PREFIX}{PIPELINES.step_names[0]}"
ROLES = [ROUTER, STEP, SINK, DLQ_INDEX, SERVE, *PEOPLE]
NAMES = [topic.name for topic in topic_table(SETTINGS, PIPELINES)]


def short(topic: str) -> str:
    """A topic as the table names it; those of all steps, and all of dead letters, are one."""
    if topic.startswith(DLQ_PREFIX):
        return "dlq.*"
    name = topic.removeprefix(SETTINGS.topics.prefix).removesuffix(".v1")
    return "steps.*" if name.startswith("steps.") else name


def roles_that(operation: AclOperation, kind: str) -> str:
    """The roles that may do this with one of the topics of a row."""
    of_kind = [name for name in NAMES if short(name) == kind]
    found = [
        "step.NAME" if role == STEP else role
        for role in ROLES
        if any(
            right.resource is Resource.TOPIC and operation in right.operations and right.covers(n)
            for right in acls_of(role, TOPICS)
            for n in of_kind
        )
    ]
    return ", ".join(found) or "nobody"


def test_the_table_of_writers_and_readers_is_that_of_the_rules() -> None:
    kinds = dict.fromkeys(map(short, NAMES))
    wanted = [
        f"| `{kind}` | {roles_that(AclOperation.WRITE, kind)} | "
        f"{roles_that(AclOperation.READ, kind)} |"
        for kind in kinds
    ]
    section = Page("docs/security.md", "Trust model").text.partition("What an account")[0]
    shown = re.findall(r"^\| `.*\|$", section, re.MULTILINE)

    assert shown == wanted, "\n".join(wanted)


def test_each_limit_has_its_row() -> None:
    wanted = [
        f"| `{row.variable}` | {row.default} | {row.unit} | {row.meaning} |"
        for rows in settings().values()
        for row in rows
        if row.variable.startswith("ORCH_API_LIMITS_")
    ]
    shown = re.findall(r"^\| `ORCH_API_LIMITS_.*", TEXT, re.MULTILINE)

    assert shown == wanted, "the rows are:\n" + "\n".join(wanted)


@pytest.mark.parametrize("form", ["kafka", "confluent", "json"])
def test_the_commands_for_access_rules_run(form: str) -> None:
    [script] = [s for s in Page("docs/security.md", "Kafka").shell if "topics acls" in s]
    [line] = [line for line in script.splitlines() if line.endswith(f"--format {form}")]
    ended = run_command(shlex.split(line)[1:], {})

    assert ended.status == 0, ended.err
    assert ended.out


@pytest.mark.parametrize("number", range(len(re.findall(r"^```yaml\n", TEXT, re.MULTILINE))))
def test_the_configurations_of_the_page_are_accepted(tmp_path: Path, number: int) -> None:
    text = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)[number]
    (tmp_path / "dsn").write_text("postgresql://orchestrator:word@db:5432/tasks?sslmode=require\n")
    (tmp_path / "config.yaml").write_text(text.replace("/run/secrets/dsn", str(tmp_path / "dsn")))
    environment = {"ORCH_CONFIG": str(tmp_path / "config.yaml"), "CLI_KEY": "orch_x"}

    assert process_settings(environment) != Settings()
    checked = run_command(("config", "check", str(tmp_path / "config.yaml")), {"CLI_KEY": "orch_x"})
    assert checked.status == 0, checked.err


async def test_the_token_provider_of_the_page_returns_a_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [code] = Page("docs/security.md", "Kafka").python
    module = types.ModuleType("our_tokens")
    answer = json.dumps({"access_token": "a.b.c"}).encode()
    exec(compile(code, "our_tokens.py", "exec"), module.__dict__)  # the page's own
    monkeypatch.setattr(module, "_answer", lambda: answer)

    assert await module.token() == "a.b.c"


def test_the_page_of_reports_is_linked() -> None:
    report = Path("SECURITY.md").read_text("utf-8")

    assert "docs/security.md" in report
    for page in ("README.md", "docs/security.md"):
        assert "SECURITY.md" in Path(page).read_text("utf-8")
