"""A size that is estimated is never too small."""

import json

from hypothesis import given
from hypothesis import strategies as st

from schemas.records import (
    CommandId,
    DispatchedStep,
    Error,
    EventKind,
    Json,
    Millis,
    StepName,
    StepOutcome,
    SubStep,
    TaskEvent,
    TaskId,
    TaskSpec,
)
from tasks.deciding.size import _rough, bytes_at_most, fits
from tests.schemas.test_json_text import JSON_VALUES

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
DOCUMENTS = st.builds(
    lambda value, ascii_only, indent: Json(
        json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    ),
    JSON_VALUES,
    st.booleans(),
    st.sampled_from([None, "\t", 3]),
)


@given(*[TEXTS] * 3, *[DOCUMENTS] * 5)
def test_an_estimate_is_at_least_the_size(
    id_: str, name: str, message: str, input_: Json, output: Json, kept: Json, part: Json, at: Json
) -> None:
    spec = TaskSpec(
        task_id=TaskId(id_),
        tenant_id=name,
        input=input_,
        metadata=at,
        deadline_at=Millis(2**62),
        kept_outputs={name: kept},
        created_at=Millis(-1),
    )
    event = TaskEvent(
        event_id=id_,
        task_id=TaskId(id_),
        tenant_id=name,
        kind=EventKind.COMPLETED,
        occurred_at=Millis(0),
        task=spec,
        step=StepOutcome(
            command_id=CommandId(id_),
            output=output,
            error=Error(code=name, message=message),
            substeps=[SubStep(name=name, input=part, output=at, started_at=Millis(0))],
        ),
        dispatched=[DispatchedStep(command_id=CommandId(id_), step=StepName(name), input=part)],
        output=output,
        reason=message,
    )
    for document in (event, (spec, {StepName(name): kept}, output)):
        assert _rough(document) >= bytes_at_most(document)
        for large in ((), (Json(" " * 20_000),)):
            assert fits(document, bytes_at_most(document), *large)
            assert not fits(document, bytes_at_most(document) - 1, *large)
