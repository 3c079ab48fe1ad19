"""Builds the command of a step from the task, or the reason why it cannot be built."""

from collections.abc import Mapping

from schemas.errors import InvalidRecordError
from schemas.json_text import check_depth, check_size, compact
from schemas.records import DispatchedStep, Error, ErrorCategory, Json, StepName, TaskSpec
from tasks.lane import lane_of
from tasks.pipeline import Pipeline
from tasks.task import command_id_of
from tasks.template import PathMissingError, Scope, Template, build


def dispatch(
    spec: TaskSpec,
    outputs: Mapping[StepName, Json],
    *,
    pipeline: Pipeline,
    index: int,
    run: int,
    priority: int,
    max_bytes: int,
) -> DispatchedStep | Error:
    """The first attempt of a step.

    Args:
        spec: the task.
        outputs: the outputs of the steps before this one.
        pipeline: the pipeline of the task.
        index: the step's position, from 0.
        run: the task's run.
        priority: the task's current priority.
        max_bytes: largest size of the built input.

    Returns:
        The step to dispatch, or an error with code ``STEP_INPUT_INCOMPLETE`` or
        ``STEP_INPUT_TOO_LARGE``.
    """
    step = pipeline.steps[index]
    text = fill(step.input, spec, outputs, what=f"input of step {step.name}", max_bytes=max_bytes)
    if isinstance(text, Error):
        return text
    return DispatchedStep(
        command_id=command_id_of(spec.task_id, run=run, step=step.name, attempt=1),
        step=step.name,
        step_index=index,
        service=step.service,
        attempt=1,
        lane=lane_of(priority),
        input=text,
    )


def fill(
    template: Template,
    spec: TaskSpec,
    outputs: Mapping[StepName, Json],
    *,
    what: str,
    max_bytes: int,
) -> Json | Error:
    """Fill in a template from a task; ``what`` names the result in messages.

    The errors are those of :func:`dispatch`.
    """
    scope = Scope(given=spec.input, metadata=spec.metadata, outputs=outputs)
    try:
        text = compact(build(template, scope))
        check_size(text, what=what, max_bytes=max_bytes)
        check_depth(text, what=what)
    except PathMissingError as error:
        by_caller = error.path.step is None
        return Error(
            code=PathMissingError.code,
            message=f"{what}: {error}",
            category=ErrorCategory.USER if by_caller else ErrorCategory.DOWNSTREAM,
        )
    except InvalidRecordError as error:
        return Error(
            code="STEP_INPUT_TOO_LARGE", message=str(error), category=ErrorCategory.DOWNSTREAM
        )
    return text
