"""Reference agent: a bounded loop of decide, act and note, with a calculator and a retrieval."""

import threading
import time
from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from orchestrator.local.demo.agent_policy import ANSWER, CALCULATOR, Action, Note, decide
from orchestrator.local.demo.answer import Answer, BadInputError, check_wanted, dump, load
from orchestrator.local.demo.calculator import CalculationError, calculate
from orchestrator.local.demo.prices import cost_micros
from orchestrator.local.demo.rag_engine import MODEL, answer_from
from orchestrator.local.demo.retrieval import Document
from orchestrator.local.demo.text import tokens
from schemas.records import Error, ErrorCategory, Json, Millis, SubStep, Usage

ITERATIONS_MAX = 10
DOCUMENTS_PER_SEARCH = 5

Search = Callable[[str, int], list[Document]]


class RunAgentInput(Struct, frozen=True):
    """Input of the method ``RunAgent``; other fields are ignored."""

    query: str
    max_iterations: int = ITERATIONS_MAX
    """1 to 10."""


class RunAgentOutput(Struct, frozen=True):
    """Output of ``RunAgent``.

    ``finished`` is false if the limit of iterations came before the answer; ``answer`` then
    holds what was found until then, which may be empty.
    """

    answer: str
    finished: bool
    iterations: int


class AgentEngine:
    """Answers questions with tools. The same question takes the same steps.

    Args:
        search: finds documents: takes a query and the maximum number of documents.
        clock: Unix time in milliseconds, for the times of the iterations.
    """

    def __init__(
        self, search: Search, clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        self._search = search
        self._clock = clock

    def run_agent(self, request: str, stop: threading.Event) -> Answer:
        """Answer a ``RunAgent`` call. Each iteration is a substep with its own usage.

        Raises:
            BadInputError: ``INPUT_INVALID``, ``QUERY_EMPTY`` or ``MAX_ITERATIONS_INVALID``.
            GivenUpError: ``stop`` was set.
        """
        asked = load(request, RunAgentInput)
        if not asked.query.strip():
            raise BadInputError("QUERY_EMPTY", "the query is empty")
        if not 1 <= asked.max_iterations <= ITERATIONS_MAX:
            raise BadInputError(
                "MAX_ITERATIONS_INVALID", f"max_iterations must be 1 to {ITERATIONS_MAX}"
            )
        notes: list[Note] = []
        substeps: list[SubStep] = []
        while len(substeps) < asked.max_iterations:
            check_wanted(stop)
            action = decide(asked.query, notes)
            note, substep = self._iterate(asked.query, action, notes)
            substeps.append(substep)
            if action.tool == ANSWER:
                return _answer(note.said, substeps, finished=True)
            notes.append(note)
        known = " ".join(note.said for note in notes if note.said)
        return _answer(known, substeps, finished=False)

    def _iterate(self, query: str, action: Action, notes: Sequence[Note]) -> tuple[Note, SubStep]:
        """Take one action; a tool that fails is noted, and the loop goes on."""
        started_at, error = self._clock(), None
        try:
            note, output = self._act(action, notes)
        except CalculationError as failed:
            note = Note(action=action, said=f"{action.argument} has no result: {failed}.")
            output = {}
            error = Error(code=failed.code, message=str(failed), category=ErrorCategory.USER)
        substep = SubStep(
            name=action.tool,
            status="completed" if error is None else "failed",
            input=_json({"argument": action.argument}) if action.argument else Json("{}"),
            output=_json(output),
            error=error,
            started_at=Millis(started_at),
            completed_at=Millis(self._clock()),
            usage=_usage([query, *map(_observed, notes)], [action.argument, note.said]),
        )
        return note, substep

    def _act(self, action: Action, notes: Sequence[Note]) -> tuple[Note, dict[str, object]]:
        if action.tool == ANSWER:
            said = " ".join(filter(None, map(_spoken, notes)))
            return Note(action=action, said=said), {"answer": said}
        if action.tool == CALCULATOR:
            result = calculate(action.argument)
            said = f"{action.argument} = {result}."
            return Note(action=action, said=said), {"result": result}
        documents = self._search(action.argument, DOCUMENTS_PER_SEARCH)
        found = [document.id for document in documents]
        return Note(action=action, documents=documents), {"documents": found}


def _spoken(note: Note) -> str:
    """The contribution of a note to the answer: its sentence, or those of its documents."""
    return note.said or answer_from(note.action.argument, note.documents)


def _observed(note: Note) -> str:
    return " ".join([note.said, *(document.text for document in note.documents)])


def _answer(said: str, substeps: list[SubStep], *, finished: bool) -> Answer:
    output = RunAgentOutput(answer=said, finished=finished, iterations=len(substeps))
    usages = [substep.usage for substep in substeps if substep.usage is not None]
    total = Usage(
        model=MODEL,
        input_tokens=sum(usage.input_tokens for usage in usages),
        output_tokens=sum(usage.output_tokens for usage in usages),
        cost_micros=sum(usage.cost_micros for usage in usages),
        estimated=False,
    )
    return Answer(output=dump(output), usage=total, substeps=substeps)


def _usage(read: Sequence[str], written: Sequence[str]) -> Usage:
    """Usage of one iteration: the model reads the question and all notes, and writes an action."""
    input_tokens, output_tokens = sum(map(tokens, read)), sum(map(tokens, written))
    cost = cost_micros(MODEL, input_tokens=input_tokens, output_tokens=output_tokens)
    return Usage(
        model=MODEL,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost_micros=cost,
        estimated=False,
    )


def _json(value: object) -> Json:
    return Json(msgspec.json.encode(value).decode())
