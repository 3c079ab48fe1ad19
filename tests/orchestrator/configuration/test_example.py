"""deploy/config.example.yaml and the schema: fresh, complete, and they accept each other."""

from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from orchestrator.configuration.example import FILE, text
from orchestrator.configuration.file import read_config_file
from orchestrator.configuration.keys import default_of, keys
from orchestrator.configuration.load import process_settings
from orchestrator.configuration.schema import config_schema
from orchestrator.settings import Settings
from tests.commands import run_command

EXAMPLE = Path(FILE)


def test_the_example_is_what_the_settings_classes_say_today() -> None:
    assert EXAMPLE.read_text("utf-8") == text(), "stale: run `make configuration`"


def test_the_example_sets_every_key_that_has_a_default_to_it() -> None:
    found = read_config_file(EXAMPLE, {})
    wanted = {
        key.variable
        for key in keys().values()
        if default_of(key.variable) is not None and not key.is_path
    }
    assert wanted <= found.variables.keys()
    assert process_settings({"ORCH_CONFIG": str(EXAMPLE)}) == Settings()


def test_the_example_has_every_key() -> None:
    lines = [line.strip().removeprefix("# ") for line in text().splitlines()]
    for key in keys().values():
        assert any(line.startswith(f"{key.path[-1]}:") for line in lines), key.path
        assert any(key.variable in line for line in lines), key.path


def accepts(document: Any) -> bool:
    return jsonschema_rs.Draft202012Validator(config_schema()).is_valid(document)


def test_the_schema_is_one_and_accepts_the_example() -> None:
    assert jsonschema_rs.meta.is_valid(config_schema())
    assert accepts(yaml.safe_load(EXAMPLE.read_text()))


@pytest.mark.parametrize(
    "document",
    [
        {"srever": {}},
        {"server": {"http": {"adr": "x:1"}}},
        {"topics": {"partitions": "many"}},
        {"data": {"database": {"driver": "mysql"}}},
        {"services": {"poet": 3}},
    ],
)
def test_the_schema_refuses_what_the_start_refuses(document: Any) -> None:
    assert not accepts(document)


def test_check_accepts_the_example_and_names_what_the_environment_overrides() -> None:
    ended = run_command(["config", "check", FILE], {"ORCH_TOPICS_PARTITIONS": "3"})
    assert ended.status == 0, ended.err
    assert "all right" in ended.out
    assert "overridden by the environment: ORCH_TOPICS_PARTITIONS" in ended.out


def test_check_says_the_line_of_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("topics:\n  partition: 3\n")
    ended = run_command(["config", "check", str(tmp_path / "c.yaml")], {})
    assert ended.status == 1
    assert "c.yaml:2: unknown key partition" in ended.err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("services: {retrieval: 'ftp://h:1'}", "RETRIEVAL is 'ftp://h:1'; it must be grpc(s)://"),
        ("services: {retrieval: 'grpc://'}", "ORCH_SERVICES_RETRIEVAL is 'grpc://'"),
        ("services: {rag_engine: 'grpc://u:hunter2@h:1'}", "RAG_ENGINE is 'grpc://…@h:1'"),
        ("services: {poet: 'grpc://h:70000'}", "the port must be 1 to 65535"),
        ("data: {database: {source: hunter2}}", "ORCH_POSTGRES_DSN is not a URI"),
        ("data: {kafka: {bootstrap: ':::'}}", "bootstrap has ':::'"),
        ("metrics: {port: 8000}", "ORCH_METRICS_PORT is 8000, as ORCH_API_HTTP_PORT"),
        ("server: {grpc: {addr: '127.0.0.1:8000'}}", "grpc_port is 8000, as http_port"),
    ],
)
def test_check_finds_what_only_some_processes_would_meet(
    text: str, says: str, tmp_path: Path
) -> None:
    (tmp_path / "c.yaml").write_text(f"# one line\n{text}\n")
    ended = run_command(["config", "check", str(tmp_path / "c.yaml")], {})

    assert ended.status == 1, ended.out
    assert says in ended.err
    assert "c.yaml:2: " in ended.err
    assert "hunter2" not in ended.err


def test_check_notes_what_is_not_on_this_machine(tmp_path: Path) -> None:
    text = "pipelines: {dir: /nope}\nserver: {keys_file: /no/keys}\n"
    (tmp_path / "c.yaml").write_text(text)
    ended = run_command(["config", "check", str(tmp_path / "c.yaml")], {})

    assert ended.status == 0, ended.err
    assert "ORCH_PIPELINES_DIR: /nope is not on this machine" in ended.out.splitlines()
    assert "ORCH_API_KEYS_FILE: /no/keys is not on this machine" in ended.out.splitlines()


def test_show_masks_secrets_and_names_sources(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("data: {database: {source: 'postgres://u:hunter2@h/d'}}\n")
    environment = {
        "ORCH_CONFIG": str(tmp_path / "c.yaml"),
        "ORCH_TOPICS_PARTITIONS": "3",
        "ORCH_DEV_FIND": "false",
        "ORCH_EMBEDDED_KAFKA_PORT": "9099",
    }
    shown = run_command(["config", "show"], environment).out
    assert "hunter2" not in shown
    assert 'data.database.source: "********"  # ORCH_POSTGRES_DSN' in shown
    assert "c.yaml:1" in shown
    assert "topics.partitions: 3  # ORCH_TOPICS_PARTITIONS, environment" in shown
    assert "dev.find: false  # ORCH_DEV_FIND, environment" in shown
    assert "embedded.kafka_port: 9099  # ORCH_EMBEDDED_KAFKA_PORT, environment" in shown
    assert 'topics.prefix: "orchestrator."  # ORCH_TOPICS_PREFIX, default' in shown


def test_show_masks_the_headers_of_services() -> None:
    environment = {
        "ORCH_SERVICES_EXTRA": "poet=grpcs://poet:1",
        "ORCH_SERVICES_HEADERS": "poet.authorization=hunter2",
    }
    shown = run_command(["config", "show"], environment).out
    assert "hunter2" not in shown
    assert 'services.headers: "********"  # ORCH_SERVICES_HEADERS, environment' in shown

    wrong = {**environment, "ORCH_SERVICES_HEADERS": "poet.authorization=hunter2,hunter3"}
    ended = run_command(["config", "show"], wrong)
    assert ended.status == 1
    assert "hunter" not in ended.out + ended.err


def test_schema_prints_the_schema() -> None:
    assert run_command(["config", "schema"], {}).status == 0


def test_the_file_is_also_an_option_of_every_command(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("topics: {prefix: mine.}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORCH_CONFIG", "")
        arguments = ["--config", str(tmp_path / "c.yaml"), "topics", "acls", "sink"]
        listed = run_command([*arguments, "--principal", "User:x"], {})
    assert "mine.task-events.v1" in listed.out
