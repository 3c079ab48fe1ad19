"""The pure rules of models: addresses, events however they are cut, prices that add up."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.services.models.address import parse_address
from agents.services.models.event_stream import EventDecoder, StreamTooLargeError
from agents.services.models.prices import ModelPrice, ModelPrices, load_prices
from schemas.errors import SettingsError

TEXTS = st.lists(st.text("abc {}:", min_size=1), max_size=20)


@pytest.mark.parametrize(
    ("text", "url", "models"),
    [
        ("openai+https://a.example/v1?model=m", "https://a.example/v1", ("m",)),
        (
            "openai+http://[::1]:8080/v1/?model=a/b:c|d",
            "http://[::1]:8080/v1",
            ("a/b:c", "d"),
        ),
    ],
)
def test_an_address_names_the_api_and_its_models(
    text: str, url: str, models: tuple[str, ...]
) -> None:
    address = parse_address(text)
    assert (address.url, address.models) == (url, models)


@pytest.mark.parametrize(
    "text",
    [
        "openai+https://a.example/v1",
        "openai+https://a.example/v1?model=",
        "openai+https://a.example/v1?model=a|",
        "openai+https://user:secret@a.example/v1?model=a",
        "openai+https:///v1?model=a",
        "openai+ftp://a/v1?model=a",
        "openai+https://a.example/v1?model=a&key=secret",
        "openai+https://a.example/v1?model=" + "|".join("a" * 9),
        "openai+https://a.example/v1?model=a#b",
        "openai+http://a.example:abc/v1?model=a",
        "openai+http://a.example:99999/v1?model=a",
        "openai+http://a.example:0/v1?model=a",
        "openai+http://a b/v1?model=a",
        "openai+http://a\r\nb/v1?model=a",
    ],
)
def test_what_is_no_address_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(ValueError, match=r"^it") as refused:
        parse_address(text)
    assert "secret" not in str(refused.value)


@given(TEXTS, st.integers(1, 7), st.sampled_from([b"\n", b"\r\n"]))
def test_events_are_the_same_however_the_stream_is_cut(
    texts: list[str], size: int, line_end: bytes
) -> None:
    stream = EventDecoder(event_max_bytes=10_000, max_bytes=100_000)
    sent = b"".join(b"data: " + text.encode() + line_end * 2 for text in texts)
    parts = [sent[i : i + size] for i in range(0, len(sent), size)]
    found = [data for part in parts for data in stream.feed(part)]
    assert found == [text.encode() for text in texts]


@given(st.binary(max_size=5_000), st.integers(1, 400))
def test_no_bytes_break_the_stream_but_its_size(garbage: bytes, size: int) -> None:
    stream = EventDecoder(event_max_bytes=1_000, max_bytes=3_000)
    try:
        for i in range(0, len(garbage), size):
            stream.feed(garbage[i : i + size])
    except StreamTooLargeError:
        assert len(garbage) > 1_000


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=20),
    st.integers(0, 10**9),
    st.integers(0, 10**9),
)
def test_a_cost_is_rounded_up_and_by_less_than_one(
    calls: list[tuple[int, int]], price_in: int, price_out: int
) -> None:
    prices = ModelPrices(version=1, models={"m": ModelPrice(price_in, price_out)})
    for tokens_in, tokens_out in calls:
        exact = tokens_in * price_in + tokens_out * price_out
        cost = prices.cost_micros("m", tokens_in, tokens_out)
        assert cost is not None
        assert 0 <= cost * 10**6 - exact < 10**6


def test_the_prices_that_come_with_the_program_can_be_read() -> None:
    assert load_prices(None).version >= 1


@pytest.mark.parametrize(
    "text",
    [
        "models: {}",
        "version: 1\nmodels: {m: {input: -1}}",
        "version: 1\nmodels: {m: {input: 1.5}}",
        "version: 1\nmodels: {m: {inputs: 1}}",
        ": :",
    ],
)
def test_a_wrong_price_list_is_refused_with_its_name(text: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=r"ORCH_SERVICES_PRICES_FILE.*mine\.yaml"):
        load_prices(file)
