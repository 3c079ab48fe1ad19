"""No setting with a secret is quoted: neither in an error, nor by ``config``, nor in a log."""

import json
from pathlib import Path

import pytest

from orchestrator.cli.config import _MASKED
from orchestrator.configuration.keys import keys
from orchestrator.settings import load_settings
from schemas.errors import OrchestratorError
from tests.commands import run_command

SECRETS = [key.variable for key in keys().values() if key.secret]
CANARY = "hunter2canary"
WRONG = (
    *(CANARY, f"{CANARY}:{CANARY}", f"{CANARY}={CANARY}", f"postgresql://u:{CANARY}@[h/d"),
    *(f"postgresql://u:{CANARY}@h:port/d?sslmode={CANARY}", f"http://u:{CANARY}@h:99999999"),
    *(f"{CANARY}\x1b[31m", f"{CANARY},,=,{CANARY}", f" {CANARY} {CANARY} "),
)


def test_the_settings_with_a_password_are_secrets() -> None:
    assert {"ORCH_POSTGRES_DSN", "ORCH_KAFKA_PASSWORD", "ORCH_API_KEY"} <= set(SECRETS)


@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize("variable", SECRETS)
def test_a_secret_is_in_no_error_and_in_no_settings_that_are_printed(
    variable: str, value: str
) -> None:
    try:
        shown = repr(load_settings({variable: value}))
    except OrchestratorError as error:
        shown = f"{error} {error!r}"

    assert CANARY not in shown


@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize("variable", SECRETS)
@pytest.mark.parametrize("form", ["table", "json"])
def test_config_prints_no_secret(tmp_path: Path, variable: str, value: str, form: str) -> None:
    key = next(key for key in keys().values() if key.variable == variable)
    document: object = value
    for name in reversed(key.path):
        document = {name: document}
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps(document))
    by_variable = run_command(("config", "show", "-o", form), {variable: value})
    by_file = run_command(("config", "show", "-o", form), {"ORCH_CONFIG": str(file)})
    checked = run_command(("config", "check", str(file)), {})

    for ended in (by_variable, by_file, checked):
        assert CANARY not in ended.out + ended.err
        assert ended.status in (0, 1)
    if by_variable.status == 0:
        assert _MASKED in by_variable.out


@pytest.mark.parametrize("variable", [v for v in SECRETS if "DSN" in v or "URL" in v])
@pytest.mark.parametrize("command", [("usage",), ("migrate", "status"), ("doctor",), ("status",)])
def test_a_command_that_cannot_connect_quotes_no_password(
    variable: str, command: tuple[str, ...]
) -> None:
    for value in (f"postgresql://u:{CANARY}@127.0.0.1:1/d", f"postgresql://u:{CANARY}@[h/d"):
        ended = run_command(command, {"ORCH_POSTGRES_DSN": value} | {variable: value})

        assert CANARY not in ended.out + ended.err
