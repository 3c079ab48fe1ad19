"""A note beside an offset is believed for a minute: its writer may be gone."""

from hypothesis import given
from hypothesis import strategies as st

from streams.kafka.group_note import REWRITTEN_EVERY_S, stamped, text_of

AT = 1_700_000_000_000


@given(st.text(min_size=1), st.integers(-30_000, int(REWRITTEN_EVERY_S * 1000)))
def test_a_note_that_is_written_again_and_again_keeps_its_text(text: str, age_ms: int) -> None:
    assert text_of(stamped(text, AT), AT + age_ms) == text


def test_a_note_of_a_member_that_is_gone_is_ignored() -> None:
    assert text_of(stamped("paused", AT), AT + 59_999) == "paused"
    assert text_of(stamped("paused", AT), AT + 60_000) == ""


def test_an_empty_text_is_no_note() -> None:
    assert stamped("", AT) == ""


@given(st.text())
def test_what_others_wrote_beside_an_offset_is_ignored(written: str) -> None:
    assert text_of("x" + written, AT) == ""
    assert text_of(written.replace(" ", ""), AT) == ""
