"""Which tenants and models have a series of their own."""

from hypothesis import given
from hypothesis import strategies as st

from sinks.counts.naming import (
    MODELS_MAX,
    OTHER,
    TENANTS_MAX,
    UNKNOWN,
    Naming,
    TenantUsage,
    largest,
)

usages = st.lists(
    st.builds(
        TenantUsage,
        tenant_id=st.integers(0, 300).map(str),
        cost_micros=st.integers(0, 9),
        tokens=st.integers(0, 9),
    ),
    unique_by=lambda usage: usage.tenant_id,
    max_size=200,
)


@given(found=usages)
def test_no_tenant_without_a_name_is_larger_than_one_with_a_name(found: list[TenantUsage]) -> None:
    named = largest(found)
    sizes = {usage.tenant_id: (usage.cost_micros, usage.tokens) for usage in found}

    assert len(named) == min(len(found), TENANTS_MAX)
    rest = sizes.keys() - named
    if rest:
        assert max(sizes[tenant] for tenant in rest) <= min(sizes[tenant] for tenant in named)


def test_tenants_are_named_while_there_is_room() -> None:
    naming = Naming()
    names = [naming.tenant(f"t{number}") for number in range(TENANTS_MAX + 2)]

    assert names[:TENANTS_MAX] == [f"t{number}" for number in range(TENANTS_MAX)]
    assert names[TENANTS_MAX:] == [OTHER, OTHER]


def test_the_ranking_decides_who_is_counted_by_name_from_then_on() -> None:
    naming = Naming()
    for number in range(TENANTS_MAX):
        naming.tenant(f"small{number}")

    naming.rank([TenantUsage(f"large{number}", 5, 5) for number in range(TENANTS_MAX)], [])

    assert naming.tenant("large0") == "large0"
    assert naming.tenant("small0") == OTHER


def test_models_are_bounded_and_usage_without_a_model_is_unknown() -> None:
    naming = Naming()
    naming.rank([], [f"m{number}" for number in range(MODELS_MAX)])

    assert naming.model("m0") == "m0"
    assert naming.model("another") == OTHER
    assert naming.model(None) == UNKNOWN
