"""Which tenants and models are counted by name, and which together as ``other``. Pure.

An event adds to the series that has its tenant's name at that moment, and to no other. So every
series only grows, and their sum is exact, however often the ranking changes. A tenant that is no
longer among the largest keeps its series, which then stands still.
"""

from collections.abc import Iterable
from dataclasses import dataclass

OTHER = "other"
"""The label of what is not counted by name."""
UNKNOWN = "unknown"
"""The label of a value that is not known: usage without a model, a task without a row."""
TENANTS_MAX = 100
MODELS_MAX = 100
"""Models are named by the services, so that their number is not ours to know."""


@dataclass(frozen=True, slots=True)
class TenantUsage:
    """What a tenant used, in all partitions."""

    tenant_id: str
    cost_micros: int
    tokens: int


def largest(usages: Iterable[TenantUsage], at_most: int = TENANTS_MAX) -> frozenset[str]:
    """The tenants with the highest cost, then the most tokens, then the first name."""
    ranked = sorted(usages, key=lambda usage: (-usage.cost_micros, -usage.tokens, usage.tenant_id))
    return frozenset(usage.tenant_id for usage in ranked[:at_most])


class Naming:
    """The names that one writer counts by.

    As long as there is room, a new tenant or model is counted by name at once. Later the ranking
    decides about tenants, and a model stays as it is.
    """

    def __init__(self) -> None:
        self._tenants: set[str] = set()
        self._models: set[str] = set()

    def rank(self, usages: Iterable[TenantUsage], models: Iterable[str]) -> None:
        """Take over what was counted by all writers: the largest tenants, and the models."""
        self._tenants = set(largest(usages))
        self._models.update(models)

    def tenant(self, tenant_id: str) -> str:
        """The label of a tenant."""
        return _named(self._tenants, tenant_id, TENANTS_MAX)

    def model(self, model: str | None) -> str:
        """The label of a model."""
        return _named(self._models, model, MODELS_MAX) if model else UNKNOWN


def _named(names: set[str], name: str, at_most: int) -> str:
    if name not in names:
        if len(names) >= at_most:
            return OTHER
        names.add(name)
    return name
