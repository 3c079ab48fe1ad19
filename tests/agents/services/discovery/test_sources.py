"""From the settings of a registry to calls of the instances that it knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.services.directory import Directory
from agents.services.settings import ServicesSettings
from schemas.errors import SettingsError
from tests.agents.services.balancing.several import instances
from tests.agents.services.discovery.fake_consul import a_consul
from tests.agents.services.discovery.test_nacos import a_nacos, an_instance
from tests.agents.services.test_grpc_client import a_request, answers


async def call_with(settings: ServicesSettings) -> None:
    directory = Directory(settings)
    directory.check(["poet"])
    try:
        await directory.client("poet").call(a_request())
    finally:
        await directory.close()


def a_token(folder: Path) -> Path:
    file = folder / "token"
    file.write_text("s3cret\n")
    return file


async def test_consul_is_asked_with_the_token_of_its_file(tmp_path: Path) -> None:
    async with instances(answers) as (server,), a_consul(server.endpoint) as consul:
        await call_with(
            ServicesSettings(
                extra="poet=consul+grpc://poet",
                consul_url=consul.url + "/",
                consul_token_file=a_token(tmp_path),
            )
        )

    assert (server.calls, consul.tokens[0]) == (1, "s3cret")


async def test_nacos_is_asked_with_the_token_of_its_file(tmp_path: Path) -> None:
    async with instances(answers) as (server,):
        known = an_instance(server.endpoint.host, port=server.endpoint.port)
        async with a_nacos({"hosts": [known]}) as nacos:
            await call_with(
                ServicesSettings(
                    extra="poet=nacos+grpc://G@@poet",
                    nacos_url=nacos.url,
                    nacos_token_file=a_token(tmp_path),
                )
            )

    assert (server.calls, nacos.authorized[0]) == (1, "Bearer s3cret")
    assert nacos.asked[0][1]["groupName"] == "G"


def test_a_token_that_is_missing_stops_the_start(tmp_path: Path) -> None:
    settings = ServicesSettings(
        extra="poet=consul+grpc://poet", consul_token_file=tmp_path / "none"
    )

    with pytest.raises(SettingsError, match="'poet': ORCH_SERVICES_CONSUL_TOKEN_FILE"):
        Directory(settings).check(["poet"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"consul_url": "consul:8500"},
        {"consul_url": "http://user:s3cret@consul:8500"},
        {"nacos_url": "ftp://nacos"},
        {"nacos_api": 2},
        {"discovery_every_s": 0.0},
    ],
    ids=str,
)
def test_a_wrong_setting_of_a_registry_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))) as raised:
        ServicesSettings(**wrong)  # type: ignore[arg-type]

    assert "s3cret" not in str(raised.value)
