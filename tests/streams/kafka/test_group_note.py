"""A note beside an offset is believed while it is current and has the form of one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.kafka.group_note import read_epoch, read_note, written_epoch, written_note

NOW_S = 1_764_467_530.0
TEXT = "asked by probes only: rag-engine"


def test_a_note_is_read_as_it_was_written() -> None:
    assert read_note(written_note(TEXT, NOW_S), NOW_S + 30) == TEXT


def test_nothing_to_say_is_no_note() -> None:
    assert written_note("", NOW_S) == ""


@pytest.mark.parametrize("later_s", [61, 86_400, -61])
def test_a_note_of_a_member_that_is_gone_ends(later_s: float) -> None:
    assert read_note(written_note(TEXT, NOW_S), NOW_S + later_s) == ""


@pytest.mark.parametrize(
    "found",
    [
        "",
        TEXT,
        "consumer-1@host",
        f"ai-orchestrator-note {'9' * 4_000} x",
        "ai-orchestrator-note \u0661 x",
        "ai-orchestrator-note -1 x",
        "ai-orchestrator-note nan x",
    ],
)
def test_the_text_of_another_client_is_no_note(found: str) -> None:
    assert read_note(found, NOW_S) == ""


@given(st.text(max_size=5_000))
def test_what_is_read_is_short_and_safe_to_print(text: str) -> None:
    read = read_note(f"ai-orchestrator-note {NOW_S:.0f} {text}", NOW_S)

    assert len(read) <= 300
    assert read.isprintable() or "\ufffd" in read
    assert not any(c in read for c in "\x1b\n\r\x9b\u202e")


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    assert read_note(text, NOW_S) == "" or "ai-orchestrator-note" in text


@given(st.integers(min_value=0, max_value=2**53))
def test_an_epoch_is_read_as_it_was_written_and_is_no_note(epoch: int) -> None:
    assert read_epoch(written_epoch(epoch)) == epoch
    assert read_note(written_epoch(epoch), NOW_S) == ""


@given(st.text())
def test_other_text_is_no_epoch(text: str) -> None:
    assert read_epoch(text) is None or text.startswith("ai-orchestrator-epoch ")
    assert read_epoch(written_note(text, NOW_S)) is None
