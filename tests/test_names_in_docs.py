"""Every name in backticks, in docs and docstrings, is one of ours or a known foreign one."""

from pathlib import Path

import pytest

from tests.backticks import docstring_spans, docstrings, spans
from tests.names import problem
from tests.source_words import CLIENTS, PACKAGES

PAGES = [
    Path("README.md"),
    Path("CHANGELOG.md"),
    Path("CONTRIBUTING.md"),
    *sorted(Path("docs").rglob("*.md")),
    *sorted(Path(CLIENTS).rglob("*.md")),
]
MODULES = sorted(
    path
    for package in (*PACKAGES, CLIENTS)
    for path in Path(package).rglob("*.py")
    if not path.is_relative_to("schemas/gen")
)
FOREIGN = frozenset(
    {
        *("AIOKafkaClient", "DYNAMIC_TOPIC_CONFIG", "DeleteRecords"),  # Kafka and its client
        *("exactly_once", "on_error", "send_soon"),  # Faust
        *("kafka_deliveryAttempt", "synchronous_commit", "pg_stat_activity"),  # Spring, Postgres
        *("EventSource", "Host", "Authorization", "NOT_SERVING"),  # browsers, HTTP, gRPC
        *("HS256", "nbf"),  # JSON Web Tokens
        *("AUDIO_NOT_BASE64", "IMAGE_NOT_BASE64", "IMAGE_EMPTY"),  # composed when they are raised
        *("GRPC", "M2_REPO"),  # variables of a shell
        *("file_sd_config", "file_sd_configs", "increase", "rate"),  # Prometheus
        *("grep", "mvn", "sha256sum", "TMPDIR", "preexec_fn"),  # programs and processes
        # made by the page that shows them
        *("shout.py", "shout_http.py", "shouter.py", "my/shout.yaml", "my/twice.yaml"),
        # made while a system runs
        *("running.json", ".orchestrator/running.json", "NAME.json", ".orchestrator/logs/targets/"),
        "snake_case",
    }
)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_name_of_a_page_resolves(page: Path) -> None:
    text = page.read_text("utf-8")

    assert unresolved(list(spans(text))) == {}


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_every_name_of_a_docstring_resolves(module: Path) -> None:
    named = [span for text in docstrings(module) for span in docstring_spans(text)]

    assert unresolved(named) == {}


@pytest.mark.parametrize(
    "name",
    [
        *(
            "tasks/decide.py",
            "decide.py",
            "docs/adr/",
            "pyproject.toml",
            "schemas/gen",
            "value.json",
        ),
        *(
            "streams.runtime.app.App.drained",
            "App.drained",
            "tasks.decide",
            "streams.runtime.batches",
        ),
        *("Owner", "Partitions.give", "test_readme", "decide", "orchestrator.v1.Orchestrator"),
        *("orchestrator task list --status failed", "orchestrator dlq replay --stop", "make run"),
        *("ORCH_KAFKA_BOOTSTRAP", "ORCH_API_*", "ORCH_TOPICS_PARTITIONS=4", "--direct"),
        *("DECODE_FAILED", "tasks.steps", "ce_", "a sentence in backticks", '{"a": 1}'),
    ],
)
def test_a_part_of_the_system_resolves(name: str) -> None:
    assert problem(name) is None


@pytest.mark.parametrize(
    "name",
    [
        *("tasks/decides.py", "decides.py", "docs/notes/"),
        *("streams.runtime.app.App.drain", "App.drain", "tasks.decides", "tasks.decide.decides"),
        *("CircuitBreaker", "Partitions.gives", "test_that_nobody_wrote", "circuit_breaker"),
        *("orchestrator task lists", "orchestrator task list --state failed", "make runs"),
        *("ORCH_KAFKA_BOOTSTRAPS", "ORCH_KAFKAS_*", "--directly", "DECODING_FAILED"),
        *("tasks.stages", "orchestrator.v1.Nobody"),
    ],
)
def test_what_does_not_exist_is_a_problem(name: str) -> None:
    assert problem(name) is not None


def unresolved(names: list[str]) -> dict[str, str]:
    found = {name: problem(name) for name in names if name not in FOREIGN}
    return {name: why for name, why in found.items() if why is not None}
