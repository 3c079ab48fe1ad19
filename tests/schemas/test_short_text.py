"""Text of strangers, cut to what an index can hold."""

from hypothesis import given
from hypothesis import strategies as st

from schemas.dead_letter import ID_HEADER, REPLAY_HEADERS, Origin
from schemas.dead_letter_record import DeadLetter, read_dead_letter
from schemas.limits import ID_PATTERN
from schemas.short_text import KEY_MAX_BYTES, short_key, short_text
from schemas.topics import Topics

ANY_TEXT = st.text(st.characters(), max_size=400) | st.text("ab\u20ac\U0001f600", min_size=200)


@given(text=ANY_TEXT)
def test_a_key_is_never_larger_than_its_bound_and_is_kept_where_it_is_small(text: str) -> None:
    encoded = text.encode(errors="backslashreplace")

    assert len(short_key(text).encode(errors="backslashreplace")) <= KEY_MAX_BYTES
    if len(encoded) <= KEY_MAX_BYTES:
        assert short_key(text) == text


@given(head=st.text("a\u20ac", min_size=300, max_size=300), one=st.text(), other=st.text())
def test_different_long_texts_stay_different_and_are_no_ids_of_ours(
    head: str, one: str, other: str
) -> None:
    first, second = short_key(head + one), short_key(head + other)

    assert (first == second) is (one == other)
    assert not ID_PATTERN.fullmatch(first)
    assert short_key(first) == first


@given(text=ANY_TEXT, most=st.integers(1, 50))
def test_a_text_for_people_is_the_beginning_of_what_was_said(text: str, most: int) -> None:
    assert len(short_text(text, most).encode(errors="backslashreplace")) <= most


HOSTILE = [b"x" * 8_000, b"\0" * 3_000, b"\xff\xfe", "\u202e\u20ac".encode() * 900, b"", None]
NAMES = (
    *(ID_HEADER, "__dlq.task.id", "__dlq.tenant", "__dlq.step", "__dlq.service"),
    *("__dlq.traceparent", "__dlq.errors.group", "__dlq.errors.stage", "__dlq.errors.class"),
    *("__dlq.errors.code", "__dlq.errors.message", "__dlq.errors.exception.class.name"),
    *("__dlq.errors.partition", "__dlq.errors.offset", "__dlq.errors.timestamp"),
    *("__dlq.errors.original.timestamp", "__dlq.errors.delivery.count"),
)


def a_hostile_record(
    values: list[bytes | None], timestamp_ms: int = 0, marked: bool = True
) -> Origin:
    """A record that somebody else wrote into a dead-letter topic, with these header values."""
    mark = [(name, values[0]) for name in REPLAY_HEADERS] if marked else []
    ours = [(name, values[n % len(values)]) for n, name in enumerate(NAMES)]
    return Origin(
        topic="dlq.orchestrator.task-created.v1",
        partition=3,
        offset=17,
        timestamp_ms=timestamp_ms,
        key=b"k",
        value=b"v",
        headers=(("ce_tasktype", values[0]), *mark, *ours),
    )


@given(
    values=st.lists(st.sampled_from(HOSTILE) | st.binary(max_size=600), min_size=1, max_size=6),
    timestamp_ms=st.integers(-(2**63), 2**63 - 1),
)
def test_whatever_the_headers_hold_a_dead_letters_texts_fit_into_an_index(
    values: list[bytes | None], timestamp_ms: int
) -> None:
    letter = read_dead_letter(a_hostile_record(values, timestamp_ms), Topics())

    assert max(len(text.encode()) for text in texts(letter)) <= 1024
    keys = [text for text in texts(letter) if text != letter.message]
    assert max(len(text.encode()) for text in keys) <= KEY_MAX_BYTES
    assert not any("\0" in text for text in texts(letter))
    assert 0 <= letter.dead_lettered_at <= 253_402_300_799_999


def texts(letter: DeadLetter) -> list[str]:
    names = set(letter.__slots__) - {"stacktrace", "key", "value", "headers"}
    found = [getattr(letter, name) for name in names]
    return [value for value in found if isinstance(value, str)]
