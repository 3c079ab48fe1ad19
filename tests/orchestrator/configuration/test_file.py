"""The configuration file: every setting, the environment above it, mistakes with their lines."""

from __future__ import annotations

import os
import re
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml

from orchestrator.configuration.file import read_config_file
from orchestrator.configuration.keys import ADDRESSES, ConfigKey, keys
from orchestrator.configuration.load import process_settings
from orchestrator.settings import Settings, load_settings
from schemas.errors import SettingsError


def written(folder: Path, text: str) -> Path:
    file = folder / "config.yaml"
    file.write_text(text)
    return file


def settings(folder: Path, text: str, **environment: str) -> Settings:
    return process_settings({"ORCH_CONFIG": str(written(folder, text)), **environment})


def refused(folder: Path, text: str, **environment: str) -> str:
    with pytest.raises(SettingsError) as caught:
        settings(folder, text, **environment)
    return str(caught.value).replace(str(folder), "DIR")


def test_the_shape_of_the_seed(tmp_path: Path) -> None:
    found = settings(
        tmp_path,
        """\
server:
  http:
    addr: 127.0.0.1:8001
    timeout: 20s
  grpc:
    addr: 127.0.0.1:9001
    timeout: 5m
data:
  database:
    driver: postgres
    source: postgres://orch:${PASSWORD}@db:5432/orch?sslmode=verify-full
    pool_max_size: 7
  kafka:
    bootstrap: [a:9092, b:9092]
services:
  retrieval: grpc://10.0.0.1:9001
  poet: grpc://10.0.0.7:9001
  critic: https://critic.internal/run
trace:
  endpoint: http://localhost:4318
""",
        PASSWORD="s3cret",
    )
    assert (found.api.host, found.api.http_port, found.api.grpc_port) == ("127.0.0.1", 8001, 9001)
    assert (found.api.wait_default_s, found.api.wait_max_s) == (20, 300)
    assert found.postgres.dsn == "postgres://orch:s3cret@db:5432/orch?sslmode=verify-full"
    assert found.postgres.pool_max_size == 7
    assert found.kafka.servers == ["a:9092", "b:9092"]
    assert found.services.retrieval == "grpc://10.0.0.1:9001"
    assert found.services.extra_addresses() == {
        "poet": "grpc://10.0.0.7:9001",
        "critic": "https://critic.internal/run",
    }
    assert found.traces.endpoint == "http://localhost:4318"


def test_every_setting_has_a_key() -> None:
    hints = get_type_hints(Settings)
    wanted = {
        f"ORCH_{room.name}_{item.name}".upper()
        for room in fields(Settings)
        for item in fields(hints[room.name])
    }
    addresses = {name for names in ADDRESSES.values() for name in names}
    assert {key.variable for key in keys().values()} | addresses == wanted


def nested(key: ConfigKey, value: Any) -> dict[str, Any]:
    for name in reversed(key.path):
        value = {name: value}
    return value  # type: ignore[no-any-return]


@pytest.mark.parametrize("key", keys().values(), ids=lambda key: key.variable)
def test_a_key_and_its_variable_set_the_same(key: ConfigKey, tmp_path: Path) -> None:
    text = yaml.safe_dump(nested(key, "${GIVEN}"))
    found = read_config_file(written(tmp_path, text), {"GIVEN": "7"})
    wanted = str(tmp_path / "7") if key.is_path else "7"
    assert found.variables == {key.variable: wanted}


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    text = "topics: {partitions: 3, prefix: mine.}\n"
    found = settings(tmp_path, text, ORCH_TOPICS_PARTITIONS="5")
    assert (found.topics.partitions, found.topics.prefix) == (5, "mine.")


def test_without_a_file_an_environment_means_what_it_meant() -> None:
    environment = {"ORCH_TOPICS_PARTITIONS": "5", "PATH": "/bin"}
    assert process_settings(environment) == load_settings(environment)


def test_a_secret_may_be_in_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "dsn").write_text("postgres://u:p@h/d\n")
    found = settings(tmp_path, "data: {database: {source: 'file:dsn'}}\n")
    assert found.postgres.dsn == "postgres://u:p@h/d"


def test_a_relative_path_begins_at_the_folder_of_the_file(tmp_path: Path) -> None:
    found = settings(
        tmp_path,
        """\
server: {keys_file: keys.jsonl}
metrics: {targets_dir: /var/targets}
services:
  ca_files: {poet: poet.pem, "*": /etc/ca.pem}
  poet: grpcs://poet:9001
  certificate_files: poet=certs/poet.pem
""",
    )
    folder = tmp_path
    assert found.api.keys_file == folder / "keys.jsonl"
    assert found.metrics.targets_dir == Path("/var/targets")
    assert found.services.ca_files == f"poet={folder}/poet.pem,*=/etc/ca.pem"
    assert found.services.certificate_files == f"poet={folder}/certs/poet.pem"


def test_every_key_that_names_a_file_or_a_folder_is_known_as_a_path() -> None:
    named = {key for key in keys().values() if re.search(r"_(FILE|DIR)S?$", key.variable)}

    assert [key.variable for key in named if not (key.is_path or key.holds_paths)] == []


def test_an_empty_section_and_an_empty_key_set_nothing(tmp_path: Path) -> None:
    assert settings(tmp_path, "server:\ntopics:\n  prefix:\n") == Settings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("server:\n  htpp: {}\n", "DIR/config.yaml:2: unknown key htpp"),
        ("topics:\n  partitions: many\n", "DIR/config.yaml:2: ORCH_TOPICS_PARTITIONS is 'many'"),
        ("topics:\n  prefix: a/b\n", "DIR/config.yaml:2: ORCH_TOPICS_*: prefix is 'a/b'"),
        ("topics:\n  partitions: 0\n", "DIR/config.yaml:2: ORCH_TOPICS_*: partitions is 0"),
        ("topics:\n  partitions: [1, 2]\n", "DIR/config.yaml:2: topics.partitions must be one"),
        ("server:\n  http: {addr: '8000'}\n", "DIR/config.yaml:2: server.http.addr must be HOST"),
        ("data:\n  database: {driver: mysql}\n", "DIR/config.yaml:2: data.database.driver must"),
        ("topics: 3\n", "DIR/config.yaml:1: topics must be a mapping of keys"),
        ("- a\n", "DIR/config.yaml:1: the file must be a mapping"),
        ("topics: {prefix: a, prefix: b}\n", "DIR/config.yaml:1: the key prefix occurs twice"),
        ("topics: {prefix: '${ABSENT}'}\n", "DIR/config.yaml:1: the environment has no variable"),
        ("services:\n  'a b': grpc://x:1\n", "DIR/config.yaml:2: unknown key a b"),
        ("services:\n  poet: 'grpc://x:1,y'\n", "DIR/config.yaml:2: services.poet holds a comma"),
        ("data: {database: {source: 'file:no'}}\n", "DIR/config.yaml:1: DIR/no: No such file"),
        ("a: &x 1\n", "DIR/config.yaml:1: anchors"),
        ("", "DIR/config.yaml:1: the file is empty"),
        (
            "server:\n  http: {addr: '127.0.0.1:1'}\n  grpc: {addr: '127.0.0.2:1'}\n",
            "DIR/config.yaml:3: server.http.addr and server.grpc.addr must name the same host",
        ),
    ],
)
def test_a_mistake_is_said_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    assert refused(tmp_path, text).startswith(said)


def test_a_file_that_does_not_exist_or_is_not_text_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        process_settings({"ORCH_CONFIG": str(tmp_path / "absent.yaml")})
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="not text"):
        process_settings({"ORCH_CONFIG": str(tmp_path / "binary.yaml")})
    with pytest.raises(SettingsError, match="directory"):
        process_settings({"ORCH_CONFIG": str(tmp_path)})


@pytest.mark.parametrize(
    "key", [key for key in keys().values() if key.secret], ids=lambda key: key.variable
)
def test_a_wrong_secret_is_not_quoted(key: ConfigKey, tmp_path: Path) -> None:
    (tmp_path / "two-lines").write_text("hunter2\nhunter2\n")
    for value in (["hunter2,x"], "file:two-lines"):
        said = refused(tmp_path, yaml.safe_dump(nested(key, value)))
        assert said.startswith("DIR/config.yaml:")
        assert "hunter2" not in said


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("500ms", 0.5), ("2s", 2), ("1.5m", 90), ("1h", 3600), ("7d", 604800), (3, 3), (0.25, 0.25)],
)
def test_times_have_units(tmp_path: Path, given: Any, seconds: float) -> None:
    assert settings(tmp_path, f"worker: {{drain_s: {given}}}\n").worker.drain_s == seconds


def test_milliseconds_have_units_too(tmp_path: Path) -> None:
    found = settings(tmp_path, "data: {database: {statement_timeout_ms: 5s}}\n")
    assert found.postgres.statement_timeout_ms == 5000


def test_headers_of_services_are_a_mapping_of_mappings(tmp_path: Path) -> None:
    found = settings(
        tmp_path,
        """\
services:
  poet: grpcs://poet:1
  ca_files: {"*": /etc/ca.pem}
  headers:
    poet:
      authorization: Bearer file:secrets/poet
      x-key: file:/run/key
      x-team: profile:search
""",
    )

    [token, key, team] = found.services.access()["poet"].headers
    assert (token.value, token.file) == ("Bearer ", tmp_path / "secrets" / "poet")
    assert (key.value, key.file) == ("", Path("/run/key"))
    assert (team.value, team.file) == ("profile:search", None)


def test_a_wrong_header_is_refused_with_its_place_and_without_its_value(tmp_path: Path) -> None:
    said = refused(tmp_path, "services:\n  headers: {poet: {te: s3cret}}\n")

    assert said.startswith("DIR/config.yaml:2: ORCH_SERVICES_*: headers names poet")
    assert "s3cret" not in said


@pytest.mark.parametrize("given", ["config", "secret"])
def test_a_pipe_or_a_device_is_refused_at_once(tmp_path: Path, given: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    if given == "config":
        with pytest.raises(SettingsError, match="not a regular file"):
            process_settings({"ORCH_CONFIG": str(tmp_path / "pipe")})
        return
    for path in ("pipe", "/dev/zero"):
        said = refused(tmp_path, f"data: {{database: {{source: 'file:{path}'}}}}\n")
        assert "not a regular file" in said
