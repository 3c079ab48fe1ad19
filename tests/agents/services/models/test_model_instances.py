"""A model with several instances: the same lists, discovery and balancing as other services."""

from __future__ import annotations

import json

import pytest

from agents.services.balancing.client import BalancedStepClient
from agents.services.directory import Directory
from agents.services.failure import ServiceError
from agents.services.models.address import parse_address
from agents.services.settings import ServicesSettings
from schemas.errors import SettingsError
from tests.agents.services.models.fake_model import FakeModel, a_model, a_prompt, a_request


def authority(model: FakeModel) -> str:
    return model.url.removeprefix("openai+http://").removesuffix("/v1")


def a_directory(address: str) -> Directory:
    directory = Directory(ServicesSettings(extra=f"writer={address}"))
    directory.check(["writer"])
    return directory


async def test_instances_of_a_model_share_its_calls_and_one_that_is_away_costs_no_attempt() -> None:
    async with (
        a_model(lambda asked: asked.whole("Hi")) as one,
        a_model(lambda asked: asked.whole("Hi")) as two,
    ):
        hosts = f"{authority(one)}|{authority(two)}|127.0.0.1:9"
        directory = a_directory(f"openai+http://{hosts}/v1?model=large|small")
        client = directory.client("writer")
        answers = [await client.call(a_request(a_prompt())) for _ in range(30)]
        await directory.close()

    assert isinstance(client, BalancedStepClient)
    assert {json.loads(answer.output)["model"] for answer in answers} == {"large"}
    assert len(one.asked) + len(two.asked) == 30
    assert min(len(one.asked), len(two.asked)) > 3


def test_instances_of_a_model_may_be_asked_whether_they_are_well_and_one_alone_may_not() -> None:
    health = "writer=/health"
    several = ServicesSettings(extra="writer=openai+http://a:1|b:1/v1?model=m", health=health)

    Directory(several).check(["writer"])
    with pytest.raises(ValueError, match="one instance"):
        ServicesSettings(extra="writer=openai+http://a:1/v1?model=m|n", health=health)


async def test_a_model_is_found_by_dns() -> None:
    async with a_model(lambda asked: asked.whole("Hi")) as model:
        port = authority(model).partition(":")[2]
        directory = a_directory(f"openai+dns+http://localhost:{port}/v1?model=large")
        await directory.client("writer").call(a_request(a_prompt()))
        await directory.close()

    [asked] = model.asked
    # The name, and not the address behind it.
    assert asked.headers["host"] == f"localhost:{port}"
    assert asked.path == "/v1/chat/completions"


async def test_without_a_connection_no_other_model_of_the_address_is_asked() -> None:
    directory = a_directory("openai+http://127.0.0.1:9/v1?model=large|small")
    with pytest.raises(ServiceError) as failed:
        await directory.client("writer").call(a_request(a_prompt()))

    assert (failed.value.code, failed.value.called) == ("SERVICE_UNAVAILABLE", False)


@pytest.mark.parametrize(
    ("finder", "name"),
    [("srv", "_http._tcp.vllm"), ("consul", "blue.vllm"), ("nacos", "GROUP@@vllm")],
)
def test_registries_know_models_by_name(finder: str, name: str) -> None:
    address = parse_address(f"openai+{finder}+https://{name}/v1?model=large")

    assert address.shared is not None
    assert (address.shared.finder, address.shared.path) == (finder, "/v1")
    assert address.models == ("large",)


@pytest.mark.parametrize(
    "address",
    [
        "openai+dns+grpc://vllm:8000?model=large",
        "openai+dns+http://a:1|b:1/v1?model=large",
        "openai+http://a:1|a:1/v1?model=large",
        "openai+http://a:1|b:1/v1",
        "openai+etcd+http://vllm/v1?model=large",
        "openai+http://user:secret@a:1|b:1/v1?model=large",
    ],
)
def test_what_is_no_address_of_models_is_refused_without_quoting_a_secret(address: str) -> None:
    with pytest.raises(SettingsError) as refused:
        a_directory(address)
    assert "secret" not in str(refused.value)
