"""From a service's name to its client, and what stops a start."""

import pytest

from agents.services.directory import Directory
from agents.services.settings import ServicesSettings
from schemas.errors import SettingsError


@pytest.mark.parametrize(
    "service",
    [
        "retrieval",
        "retrieval-service",
        "rag-engine",
        "rag_engine",
        "agent-engine",
        "voice-engine",
        "multimodal-engine",
    ],
)
def test_the_services_of_the_pipelines_have_addresses(service: str) -> None:
    Directory(ServicesSettings()).check([service])


@pytest.mark.parametrize(
    "service",
    ["poet", "", "__class__", "max_message_bytes", "extra", "Retrieval", "retrieval\n", "-service"],
)
def test_an_unknown_service_stops_the_start(service: str) -> None:
    with pytest.raises(SettingsError, match="is unknown"):
        Directory(ServicesSettings()).check(["retrieval", service])


@pytest.mark.parametrize(
    "address",
    [
        "http://",
        "http://user:secret@host/",
        "http://host:65536/",
        "http://host/a b",
        "ftp://host/",
        "127.0.0.1:9001",
        "grpc://127.0.0.1",
        "grpc://127.0.0.1:0",
        "grpc://127.0.0.1:65536",
        "grpc://user:secret@host:9001",
        "grpc://host:9001/path",
        "grpc://:9001",
        "grpc://a:1|b",
        "grpc://a:1|a:1",
        "grpc://a:1|b:0",
        "grpc://a:1|b:2/path",
        "grpc://a:1|",
        "grpc://user:secret@a:1|b:2",
        "http://a:1|b:2/a b",
        "http://a:1/x|b:2/y z",
        "python://a.b:c|d",
        "dns+grpc://a",
        "dns+grpc://a:1|b:1",
        "dns+python://a:1",
        "consul+grpc://poet:8500",
        "consul+grpc://poet/path",
        "consul+http://a.b.c",
        "consul+http://user:secret@poet",
        "nacos+grpc://",
        "nacos+grpc://a@@b@@c",
        "list+grpc://a:1",
        "eureka+grpc://poet",
        "",
    ],
)
def test_a_wrong_address_stops_the_start_and_names_its_variable(address: str) -> None:
    directory = Directory(ServicesSettings(rag_engine=address))

    with pytest.raises(SettingsError, match="ORCH_SERVICES_RAG_ENGINE"):
        directory.check(["rag-engine"])


@pytest.mark.parametrize(
    "address",
    [
        "grpc://localhost:1",
        "grpc://a-b.c_d:65535",
        "grpc://[::1]:9",
        "http://localhost:1",
        "http://host",
        "https://[::1]:9/v1/run?tenant=a",
        "grpcs://a:1|[::1]:2|10.0.0.1:3",
        "https://a|b:8443/v1/run?tenant=a|b",
        "dns+grpcs://poet.search.svc.cluster.local:9001",
        "dns+http://poet/run",
        "consul+grpc://poet",
        "consul+https://v2.poet/run?tenant=a",
        "nacos+http://GROUP@@poet.v2/run",
    ],
)
def test_a_host_may_be_a_name_or_an_address(address: str) -> None:
    Directory(ServicesSettings(rag_engine=address)).check(["rag-engine"])


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(SettingsError, match=r"critic.*poet"):
        Directory(ServicesSettings()).check(["poet", "critic"])


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


# --- Addresses for the services of other people's pipelines ---


@pytest.mark.parametrize("service", ["poet", "poet-service", "art-critic", "art_critic"])
def test_further_services_have_their_addresses_in_one_setting(service: str) -> None:
    settings = ServicesSettings(extra="poet=grpc://h:1, art-critic=https://h/run,")

    Directory(settings).check([service])


@pytest.mark.parametrize(
    "extra",
    [
        "poet",
        "poet=",
        "=grpc://h:1",
        "Poet=grpc://h:1",
        "poet=grpc://h:1,poet=grpc://h:2",
        "poet=grpc://h:1,poet-service=grpc://h:2",
        "rag-engine=grpc://h:1",
        "extra=grpc://h:1",
        "max_message_bytes=grpc://h:1",
    ],
)
def test_an_entry_that_is_wrong_or_whose_name_is_taken_is_refused(extra: str) -> None:
    with pytest.raises(ValueError, match="extra"):
        ServicesSettings(extra=extra)


def test_a_wrong_address_of_a_further_service_names_the_setting() -> None:
    with pytest.raises(SettingsError, match="ORCH_SERVICES_EXTRA is 'poet'; it must be"):
        Directory(ServicesSettings(extra="verse=poet")).check(["verse"])


async def test_the_scheme_of_an_address_chooses_the_client() -> None:
    settings = ServicesSettings(
        rag_engine="grpc://h:1",
        retrieval="http://h:2/x",
        extra="poet=https://h,critic=grpc://h:1|h:2",
    )
    directory = Directory(settings)

    shown = [repr(directory.client(name)) for name in ("rag-engine", "retrieval", "poet", "critic")]

    await directory.close()
    assert shown == [
        "GrpcStepClient('rag-engine' at h:1)",
        "HttpStepClient('retrieval' at http://h:2/x)",
        "HttpStepClient('poet' at https://h)",
        "BalancedStepClient('critic', 0 endpoints)",
    ]
