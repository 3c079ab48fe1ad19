"""Pages and counts of dead letters: what SQL says is what the rules say."""

import random
from collections.abc import AsyncIterator

import pytest

from schemas.dead_letter_record import DeadLetter
from schemas.records import DeadLetterAction, DeadLetterActionKind, DeadLetterItem, Millis
from sinks.errors import CursorError
from sinks.letters import pages as letter_pages
from sinks.letters.pages import LetterCursor
from sinks.letters.reader import read_index
from sinks.letters.writer import DeadLetterWriter, Moved
from sinks.reads.reader import Reader
from sinks.settings import PostgresSettings
from tasks.letters.filter import LetterFilter
from tasks.letters.histogram import histogram
from tasks.letters.known import KnownLetter, KnownLetters
from tests.letters.building import a_letter

ACME = LetterFilter(tenant=("acme",))
OPERATOR = LetterFilter(tenant=("acme",), ownerless=True)
KINDS = [
    DeadLetterActionKind.REPLAYED,
    DeadLetterActionKind.EDITED,
    DeadLetterActionKind.DISCARDED,
    DeadLetterActionKind.RESOLVED,
    DeadLetterActionKind.REOPENED,
]


@pytest.fixture
async def all_letters(database: str) -> AsyncIterator[KnownLetters]:
    """Random letters of three owners, with random actions, in the index."""
    draw = random.Random(17)
    letters = [random_letter(draw, number) for number in range(400)]
    actions = [random_action(draw, letters) for _ in range(300)]
    index = DeadLetterWriter(PostgresSettings(dsn=database))
    await index.open()
    try:
        numbered = list(enumerate(actions))
        await index.write(letters, numbered, [Moved("dlq.t", 0, None, len(letters))])
        yield await read_index(PostgresSettings(dsn=database))
    finally:
        await index.close()


def random_letter(draw: random.Random, number: int) -> DeadLetter:
    of_step = draw.random() < 0.4
    return a_letter(
        id=f"letter-{draw.randrange(10**9)}-{number}",
        topic=draw.choice(["t", "steps"]),
        stage="execute" if of_step else draw.choice(["decode", "validate"]),
        run=number % 4 + 1 if of_step else None,
        task_id=f"task_{number // 4}",
        # All letters of a task are of one tenant.
        tenant_id=["acme", "other", None][number // 4 % 3],
        code=draw.choice(["DECODE_FAILED", "TASK_TYPE_UNKNOWN", "SERVICE_REFUSED"]),
        step=draw.choice(["retrieve", None]) if of_step else None,
        # Many at one time: the id parts them.
        dead_lettered_at=1_700_000_000_000 + draw.randrange(20) * 600_000,
        replays=0 if of_step else draw.choice([0, 0, 1, 3]),
    )


def random_action(draw: random.Random, letters: list[DeadLetter]) -> DeadLetterAction:
    items = [
        DeadLetterItem(letter_id=letter.id, count=draw.randrange(1, 5), topic="t", partition=1)
        for letter in draw.sample(letters, 3)
    ]
    return DeadLetterAction(
        action_id="a",
        kind=draw.choice(KINDS),
        replay_id="r",
        actor="ada",
        reason="because",
        items=items,
        at=Millis(5_000),
    )


def shown(known_letters: list[KnownLetter]) -> list[tuple[str, str, int]]:
    return [(known.letter.id, known.status.value, known.state.replays) for known in known_letters]


def expected(all_letters: KnownLetters, which: LetterFilter) -> list[KnownLetter]:
    found = [known for known in all_letters.ordered() if which.matches(known)]
    return sorted(found, key=lambda known: (known.letter.dead_lettered_at, known.letter.id))


FILTERS = [
    ACME,
    OPERATOR,
    LetterFilter(),
    LetterFilter(status=("open", "parked"), code=("DECODE_FAILED",)),
    LetterFilter(tenant=("acme",), status=("open",)),
    LetterFilter(tenant=("acme",), status=("parked", "replaying"), ownerless=True),
    LetterFilter(tenant=("acme",), code=("DECODE_FAILED",), topic=("t",)),
    LetterFilter(tenant=("acme",), stage=("execute",), step=("retrieve",), type=("rag",)),
    LetterFilter(tenant=("acme",), since_ms=1_700_000_600_000, until_ms=1_700_006_000_000),
    LetterFilter(tenant=("nobody",)),
]


@pytest.mark.parametrize("which", FILTERS, ids=lambda which: which.as_json())
async def test_pages_hold_what_the_rules_say_each_letter_once(
    all_letters: KnownLetters, reader: Reader, which: LetterFilter
) -> None:
    wanted = expected(all_letters, which)

    for ask, order in ((letter_pages.newest, wanted[::-1]), (letter_pages.oldest, wanted)):
        found: list[KnownLetter] = []
        after = None
        while page := await ask(reader, which, limit=7, after=after):
            found += page
            after = LetterCursor.parse(str(LetterCursor.of(page[-1])))
        assert shown(found) == shown(order)


@pytest.mark.parametrize("by", ["topic", "code", "step", "service", "status", "hour"])
@pytest.mark.parametrize("which", FILTERS, ids=lambda which: which.as_json())
async def test_counts_are_those_of_the_rules(
    all_letters: KnownLetters, reader: Reader, which: LetterFilter, by: str
) -> None:
    assert await letter_pages.count(reader, which, by) == histogram(
        expected(all_letters, which), by
    )


async def test_a_letter_is_found_by_its_id_with_the_one_its_count_goes_on_from(
    all_letters: KnownLetters, reader: Reader
) -> None:
    of_steps = [known for known in expected(all_letters, ACME) if (known.letter.run or 0) > 1]
    before = {
        (c.letter.task_id, c.letter.run): c for c in all_letters.ordered() if c.letter.of_step
    }

    for known in of_steps:
        found = await letter_pages.by_id(reader, ACME, [known.letter.id])
        earlier = before.get((known.letter.task_id, (known.letter.run or 0) - 1))
        wanted = [known, *([earlier] if earlier else [])]
        assert sorted(shown(found)) == sorted(shown(wanted))


async def test_letters_of_others_are_neither_found_nor_related(
    all_letters: KnownLetters, reader: Reader
) -> None:
    others = [
        known.letter.id for known in all_letters.ordered() if known.letter.tenant_id != "acme"
    ]

    assert await letter_pages.by_id(reader, ACME, others) == []
    for letter_id in others[:20]:
        assert await letter_pages.related(reader, ACME, letter_id, limit=9) == []


async def test_the_others_of_a_task_are_related(all_letters: KnownLetters, reader: Reader) -> None:
    known = expected(all_letters, ACME)[0]
    found = await letter_pages.related(reader, ACME, known.letter.id, limit=100)

    assert {c.letter.id for c in found} == {
        c.letter.id
        for c in all_letters.ordered()
        if c.letter.task_id == known.letter.task_id and c.letter.id != known.letter.id
    }


@pytest.mark.parametrize("text", ["", "x", "n.1.a", "l.-1.a", "l.9999999999999999.a", "l.1.\0"])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(CursorError):
        LetterCursor.parse(text)
