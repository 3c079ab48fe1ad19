"""Commands about tasks refuse wrong arguments in a sentence, before they connect anywhere."""

import pytest

from tests.commands import run_command

NOWHERE = {
    "ORCH_KAFKA_BOOTSTRAP": "127.0.0.1:1",
    "ORCH_POSTGRES_DSN": "postgresql://nobody:secret-word@127.0.0.1:1/none",
    "ORCH_KAFKA_REQUEST_TIMEOUT_S": "10.5",
}
CREATE = ("task", "create", "--type", "rag", "--input", '{"query": "x"}')


def direct(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """A command about tasks, without the service; others have no such option."""
    return (*arguments, "--direct") if arguments[0] == "task" else arguments


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((*CREATE, "--priority", "11"), "is neither 0 to 10"),
        ((*CREATE, "--deadline", "soon"), "is not a time like"),
        ((*CREATE, "--timeout", "inf"), "is not a timeout"),
        ((*CREATE, "--metadata", "@missing"), "No such file"),
        (("task", "get", "a b"), "is not an id"),
        (("task", "set-priority", "task_1", "urgent"), "is neither 0 to 10"),
        (("task", "retry", "task_1", "--run", "0"), "--run"),
        (("task", "list", "--limit", "0"), "--limit"),
        (("task", "list", "--status", "lost"), "lost"),
        (("task", "list", "--since", "x"), "is not a time like"),
        (("task", "list", "--order", "queue", "--status", "failed"), "lists pending tasks"),
        (("task", "list", "--tenant", "\0"), "contains the character NUL"),
        (("task", "watch", "task_1", "--after", "-1"), "--after"),
        (("usage", "--by", "colour"), "colour"),
        (("usage", "--tenant", "\0"), "contains the character NUL"),
    ],
)
def test_a_wrong_argument_is_a_sentence_and_status_2(
    arguments: tuple[str, ...], sentence: str
) -> None:
    ended = run_command(arguments, NOWHERE)

    assert (ended.status, ended.out) == (2, "")
    assert sentence in ended.err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("task", "create", "--type", "poem", "--input", "{}"), "TASK_TYPE_UNKNOWN"),
        (("task", "create", "--type", "rag", "--input", "{"), "JSON_INVALID"),
        (("task", "create", "--type", "rag", "--input", "{}"), "INPUT_INCOMPLETE"),
        ((*CREATE, "--id", "a b"), "ID_INVALID"),
        ((*CREATE, "--tenant", ""), "TENANT_MISSING"),
        ((*CREATE, "--key", "\ud800"), "TEXT_NOT_STORABLE"),
        ((*CREATE, "--key", "k", "--id", "task_1"), "ID_KEY_MISMATCH"),
        ((*CREATE, "--timeout", "0"), "TIMEOUT_OUT_OF_RANGE"),
        ((*CREATE, "--deadline", "2999-01-01"), "TIMEOUT_OUT_OF_RANGE"),
        (("task", "list", "--after", "n.1.task"), "SINK_UNAVAILABLE"),
        (("task", "list", "--after", "q.1.1.task"), "CURSOR_INVALID"),
        (("task", "list", "--order", "queue", "--after", "n.1.task"), "CURSOR_INVALID"),
        (("usage",), "SINK_UNAVAILABLE"),
    ],
)
def test_what_is_refused_is_one_line_with_a_code_and_status_1(
    arguments: tuple[str, ...], code: str
) -> None:
    ended = run_command(direct(arguments), NOWHERE)

    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith(f"error {code}: ")
    assert ended.err.count("\n") == 1
    assert "secret-word" not in ended.err


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        (CREATE, "ORCH_KAFKA_BOOTSTRAP"),
        (("task", "get", "task_1"), "ORCH_KAFKA_BOOTSTRAP"),
        (("task", "cancel", "task_1"), "ORCH_KAFKA_BOOTSTRAP"),
        (("task", "list"), "ORCH_POSTGRES_DSN"),
        (("usage",), "ORCH_POSTGRES_DSN"),
    ],
)
def test_a_missing_setting_is_named(arguments: tuple[str, ...], missing: str) -> None:
    ended = run_command(direct(arguments), {})

    assert (ended.status, ended.err) == (
        1,
        f"error SETTINGS_INVALID: {missing} is not set, and no running system was found: "
        "start one with `make run` (`orchestrator dev`), or set the variable\n",
    )


def test_a_broker_that_does_not_answer_is_one_line_with_a_code() -> None:
    for arguments in (CREATE, ("task", "get", "task_1")):
        ended = run_command(direct(arguments), NOWHERE | {"ORCH_POSTGRES_DSN": ""})

        assert ended.status == 1
        assert ended.err.startswith(("error KAFKA_UNAVAILABLE: ", "error PUBLISH_FAILED: "))
        assert ended.err.count("\n") == 1


def test_a_dsn_that_is_none_is_refused_without_showing_it() -> None:
    ended = run_command(("usage",), {"ORCH_POSTGRES_DSN": "mysql://nobody:secret-word@x/y"})

    assert (ended.status, ended.err.split(":")[0]) == (1, "error POSTGRES_REFUSED")
    assert "secret-word" not in ended.err


def test_a_wrong_password_and_a_missing_schema_are_said(postgres_dsn: str) -> None:
    user, rest = postgres_dsn.split("@")
    wrong = f"{user.rsplit(':', 1)[0]}:wrong@{rest}"
    refused = run_command(("usage",), {"ORCH_POSTGRES_DSN": wrong})
    empty = f"{postgres_dsn.rsplit('/', 1)[0]}/template1"
    missing = run_command(("usage",), {"ORCH_POSTGRES_DSN": empty})

    assert refused.err.startswith("error POSTGRES_REFUSED: ")
    assert missing.err.startswith("error SCHEMA_MISSING: ")
