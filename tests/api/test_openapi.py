"""The OpenAPI document against the service: no fault, and no answer that it does not know."""

from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from jsonschema import Draft202012Validator

from orchestrator.api.http_contract import OPERATIONS
from orchestrator.api.openapi import openapi_document
from tests.api.calling import KEYS, Served

EXAMPLES = 12
CHECKS = [
    schemathesis.checks.not_a_server_error,
    *schemathesis.checks.load_all_checks() or [],
]
schema = schemathesis.pytest.from_fixture("api_schema")


@pytest.fixture
def api_schema(served: Served) -> Any:
    """The document as it is served."""
    answer = httpx.get(f"{served.one.url}/openapi.json")
    return schemathesis.openapi.from_dict(answer.json())


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_the_service_answers_what_its_document_says(case: Any, served: Served) -> None:
    headers = {"Authorization": f"Bearer {KEYS['fuzzed']}"}
    case.call_and_validate(base_url=served.one.url, headers=headers, timeout=60)


def test_every_operation_is_in_the_document_with_its_refusals() -> None:
    document = openapi_document()

    assert document["openapi"].startswith("3.1")
    for operation in OPERATIONS:
        described = document["paths"][operation.path][operation.method.lower()]
        assert {"400", "401", "503"} <= set(described["responses"])
    for name, component in document["components"]["schemas"].items():
        Draft202012Validator.check_schema(component), name
