"""Whatever bytes a registry answers: they are a list of endpoints, or there is no list."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.services.discovery import consul, nacos
from agents.services.discovery.endpoint import Endpoint
from agents.services.discovery.following import DiscoveryError

NAMES = ["Node", "Service", "Address", "Port", "hosts", "data", "ip", "port", "weight", "healthy"]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["10.0.0.1", 9001, "9001", "a b"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
    ),
    max_leaves=12,
)
ANSWERS = st.binary(max_size=40) | VALUES.map(lambda value: json.dumps(value).encode())


@pytest.mark.parametrize("registry", [consul, nacos], ids=["consul", "nacos"])
@given(body=ANSWERS)
def test_an_answer_is_a_list_of_endpoints_or_there_is_no_list(
    registry: object, body: bytes
) -> None:
    try:
        found = registry._endpoints(body)  # type: ignore[attr-defined]
    except DiscoveryError:
        return

    assert all(isinstance(one, Endpoint) and 1 <= one.port <= 65535 for one in found)
