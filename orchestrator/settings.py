"""Settings from the environment: ``ORCH_<GROUP>_<FIELD>`` sets one field of one group."""

import types
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Union, get_args, get_origin, get_type_hints

from agents.services.settings import ServicesSettings
from agents.steps.gate.breaker import BreakerSettings
from agents.steps.gate.flood_guard import FloodGuardSettings
from agents.steps.gate.retry_budget import RetryBudgetSettings
from agents.steps.settings import WorkerSettings
from orchestrator.api.limits.settings import ApiLimitsSettings
from orchestrator.api.settings import ApiSettings
from orchestrator.api.tls.settings import ApiClientSettings, ApiTlsSettings
from orchestrator.local.demo.settings import DemoSettings
from orchestrator.local.embedded.settings import EmbeddedSettings
from orchestrator.logs import LogSettings
from orchestrator.monitoring.settings import MetricsSettings
from orchestrator.pipelines import PipelinesSettings
from orchestrator.running.settings import DevSettings
from orchestrator.traces import TracesSettings
from schemas.errors import SettingsError
from schemas.limits import Limits
from schemas.topics import TopicsSettings
from sinks.settings import PostgresSettings
from streams.ownership.settings import RouterSettings
from streams.settings import KafkaSettings, SchemasSettings

PREFIX = "ORCH_"
_NUMBER_MAX = 2**53
"""More is a mistake in every setting; not a number and infinity are neither times nor sizes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All groups. A field's name, in upper case, is the name of its group in the environment."""

    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    topics: TopicsSettings = field(default_factory=TopicsSettings)
    schemas: SchemasSettings = field(default_factory=SchemasSettings)
    limits: Limits = field(default_factory=Limits)
    pipelines: PipelinesSettings = field(default_factory=PipelinesSettings)
    router: RouterSettings = field(default_factory=RouterSettings)
    worker: WorkerSettings = field(default_factory=WorkerSettings)
    flood_guard: FloodGuardSettings = field(default_factory=FloodGuardSettings)
    breaker: BreakerSettings = field(default_factory=BreakerSettings)
    retry_budget: RetryBudgetSettings = field(default_factory=RetryBudgetSettings)
    services: ServicesSettings = field(default_factory=ServicesSettings)
    postgres: PostgresSettings = field(default_factory=PostgresSettings)
    api: ApiSettings = field(default_factory=ApiSettings)
    api_tls: ApiTlsSettings = field(default_factory=ApiTlsSettings)
    api_limits: ApiLimitsSettings = field(default_factory=ApiLimitsSettings)
    api_client: ApiClientSettings = field(default_factory=ApiClientSettings)
    embedded: EmbeddedSettings = field(default_factory=EmbeddedSettings)
    dev: DevSettings = field(default_factory=DevSettings)
    demo: DemoSettings = field(default_factory=DemoSettings)
    log: LogSettings = field(default_factory=LogSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    traces: TracesSettings = field(default_factory=TracesSettings)


def load_settings(
    environment: Mapping[str, str],
    defaults: Mapping[str, str] | None = None,
    *,
    places: Mapping[str, str] = MappingProxyType({}),
) -> Settings:
    """Build the settings from ``ORCH_*`` variables; all others are ignored.

    Args:
        environment: the variables.
        defaults: variables with other defaults for this call, which the environment overrides.
        places: where variables were set, for errors, if not in the environment.

    Raises:
        SettingsError: a variable does not name a setting (a misspelt name would otherwise
            silently keep the default), its value is wrong, or it contradicts another one. The
            process must not start.
    """
    given = {**(defaults or {}), **environment}
    given = {name: value for name, value in given.items() if name.startswith(PREFIX)}
    rooms = {}
    hints = get_type_hints(Settings)
    for room in fields(Settings):
        rooms[room.name] = _room(hints[room.name], f"{PREFIX}{room.name.upper()}_", given, places)
    if given:
        raise SettingsError(f"unknown: {', '.join(sorted(given))}")
    settings = Settings(**rooms)
    settings.api.check_reach(encrypted=settings.api_tls.on or settings.api_tls.plaintext)
    return settings


def _room(kind: type, prefix: str, given: dict[str, str], places: Mapping[str, str]) -> Any:
    """Build one group, and remove its variables from ``given``."""
    hints, values = get_type_hints(kind), {}
    for item in fields(kind):
        name = prefix + item.name.upper()
        if name in given:
            secret = not item.repr
            try:
                values[item.name] = _value(name, given.pop(name), hints[item.name], secret=secret)
            except SettingsError as error:
                raise _placed(error, places.get(name)) from None
    try:
        return kind(**values)
    except ValueError as error:
        # Its first word is the name of the field.
        name = prefix + str(error).partition(" ")[0].upper()
        raise _placed(SettingsError(f"{prefix}*: {error}"), places.get(name)) from error


def _placed(error: SettingsError, place: str | None) -> SettingsError:
    return error if place is None else SettingsError(f"{place}: {error}")


def _value(name: str, text: str, kind: Any, *, secret: bool) -> Any:
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(option for option in get_args(kind) if option is not type(None))
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if kind in (int, float):
            number = kind(text)
            if not -_NUMBER_MAX <= number <= _NUMBER_MAX:
                raise ValueError(text)
            return number
        return Path(text) if kind is Path else text
    except (ValueError, KeyError) as error:
        shown = "wrong" if secret else repr(text)
        raise SettingsError(f"{name} is {shown}; it must be a {kind.__name__}") from error
