"""From a service's name to its client, and what stops a start."""

import pytest

from agents.services.directory import Directory
from agents.services.settings import ServicesSettings
from schemas.errors import SettingsError


@pytest.mark.parametrize("service", ["retrieval", "retrieval-service", "rag-engine", "rag_engine"])
def test_the_services_of_the_pipelines_have_addresses(service: str) -> None:
    Directory(ServicesSettings()).check([service])


@pytest.mark.parametrize(
    "service",
    ["voice-engine", "", "__class__", "max_message_bytes", "Retrieval", "retrieval\n", "-service"],
)
def test_an_unknown_service_stops_the_start(service: str) -> None:
    with pytest.raises(SettingsError, match="is unknown"):
        Directory(ServicesSettings()).check(["retrieval", service])


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:9001",
        "127.0.0.1:9001",
        "grpc://127.0.0.1",
        "grpc://127.0.0.1:0",
        "grpc://127.0.0.1:65536",
        "grpc://user:secret@host:9001",
        "grpc://host:9001/path",
        "grpc://:9001",
        "",
    ],
)
def test_a_wrong_address_stops_the_start_and_names_its_variable(address: str) -> None:
    directory = Directory(ServicesSettings(rag_engine=address))

    with pytest.raises(SettingsError, match="ORCH_SERVICES_RAG_ENGINE"):
        directory.check(["rag-engine"])


@pytest.mark.parametrize(
    "address", ["grpc://localhost:1", "grpc://a-b.c_d:65535", "grpc://[::1]:9"]
)
def test_a_host_may_be_a_name_or_an_address(address: str) -> None:
    Directory(ServicesSettings(rag_engine=address)).check(["rag-engine"])


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(SettingsError, match=r"agent-engine.*voice-engine"):
        Directory(ServicesSettings()).check(["voice-engine", "agent-engine"])


def test_an_address_that_no_pipeline_needs_stops_nothing() -> None:
    Directory(ServicesSettings(rag_engine="nonsense")).check(["retrieval"])


async def test_a_service_has_one_client_until_the_directory_is_closed() -> None:
    directory = Directory(ServicesSettings())

    first = directory.client("retrieval")

    assert directory.client("retrieval") is first
    await directory.close()
    await directory.close()


def test_a_message_limit_that_cannot_work_is_refused() -> None:
    with pytest.raises(ValueError, match="max_message_bytes"):
        ServicesSettings(max_message_bytes=0)
