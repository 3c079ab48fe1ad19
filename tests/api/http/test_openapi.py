"""The OpenAPI document against the service: no fault, and no answer that it does not know."""

from typing import Any

import httpx
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from orchestrator.api.http.contract import OPERATIONS
from orchestrator.api.http.openapi import openapi_document
from tests.api.calling import KEYS, Served, a_body
from tests.api.letters.dead_lettering import a_dead_letter

EXAMPLES = 15
# Other checks judge what is right to accept; these say that no answer is a fault or unknown.
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
DOCUMENT = openapi_document()
SCHEMA: Any = schemathesis.openapi.from_dict(DOCUMENT)
DOCUMENTED = [
    (method.upper(), path)
    for path, operations in DOCUMENT["paths"].items()
    for method in operations
]


@pytest.mark.parametrize(("method", "path"), DOCUMENTED)
def test_the_service_answers_what_its_document_says(served: Served, method: str, path: str) -> None:
    headers = {"Authorization": f"Bearer {KEYS['fuzzed']}"}

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=SCHEMA[path][method].as_strategy())
    def call(case: Any) -> None:
        case.call_and_validate(base_url=served.one.url, headers=headers, checks=CHECKS, timeout=60)

    call()


def test_answers_about_a_real_task_are_as_documented(served: Served) -> None:
    headers = {"Authorization": f"Bearer {KEYS['acme']}"}
    prefer = {**headers, "Prefer": "wait=60"}
    with httpx.Client(base_url=served.one.url, timeout=60) as http:
        done = http.post("/api/v1/tasks:execute", json=a_body(), headers=prefer)
        task_id = done.json()["task"]["id"]
        answers = {
            ("POST", "/api/v1/tasks:execute"): done,
            ("POST", "/api/v1/tasks"): http.post("/api/v1/tasks", json=a_body(), headers=headers),
            ("GET", f"{TASK}"): http.get(f"/api/v1/tasks/{task_id}", headers=headers),
            ("GET", f"{TASK}/logs"): http.get(f"/api/v1/tasks/{task_id}/logs", headers=headers),
            ("GET", "/api/v1/tasks"): http.get("/api/v1/tasks", headers=headers),
            ("GET", "/api/v1/usage"): http.get("/api/v1/usage?by=model,day", headers=headers),
            ("POST", f"{TASK}:cancel"): http.post(
                f"/api/v1/tasks/{task_id}:cancel", headers=headers
            ),
        }

    statuses = {place: answer.status_code for place, answer in answers.items()}
    assert set(statuses.values()) == {200, 201, 409}, statuses
    for (method, path), answer in answers.items():
        SCHEMA[path][method].validate_response(answer)


@pytest.mark.asyncio(loop_scope="session")
async def test_answers_about_a_real_dead_letter_are_as_documented(served: Served) -> None:
    letter_id = await a_dead_letter(served, "acme")
    http = served.one.shared("acme")
    one, letter = f"{LETTERS}/{letter_id}", f"{LETTERS}/{{letter_id}}"
    edit = {"changes": ["type=rag"], "reason": "a test"}
    reason = {"reason": "a test"}
    answers = {
        ("POST", f"{letter}:edit"): await http.post(f"{one}:edit", json=edit),
        ("GET", letter): await http.get(one),
        ("GET", LETTERS): await http.get(LETTERS),
        ("GET", f"{LETTERS}/stats"): await http.get(f"{LETTERS}/stats"),
        ("POST", f"{LETTERS}:replay"): await http.post(
            f"{LETTERS}:replay", json={"ids": [letter_id]}
        ),
        ("POST", f"{letter}:discard"): await http.post(f"{one}:discard", json=reason),
    }

    for (method, path), answer in answers.items():
        assert answer.status_code == 200, answer.text
        SCHEMA[path][method].validate_response(answer)


TASK = "/api/v1/tasks/{task_id}"
LETTERS = "/api/v1/dead-letters"


def test_the_document_that_is_served_is_the_one_that_is_tested(served: Served) -> None:
    assert httpx.get(f"{served.one.url}/openapi.json").content == msgspec.json.encode(DOCUMENT)


def test_every_operation_is_in_the_document_with_its_refusals() -> None:
    assert DOCUMENT["openapi"].startswith("3.1")
    for operation in OPERATIONS:
        described = DOCUMENT["paths"][operation.path][operation.method.lower()]
        assert {"400", "401", "503"} <= set(described["responses"])
