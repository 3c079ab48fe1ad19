"""Answers to creates and commands, and histories, as the messages of ``orchestrator.v1``."""

from __future__ import annotations

from orchestrator.api.grpc.messages import (
    event_message,
    stamp,
    status_number,
    step_message,
    task_message,
)
from orchestrator.api.tasks.explanation import ExplanationView
from orchestrator.api.tasks.history import PastAttempt, TaskHistory
from orchestrator.api.tasks.receipt import Answered, Receipt
from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb


def task_response(answer: Answered) -> pb.TaskResponse:
    """A task that was created or changed."""
    return pb.TaskResponse(
        task=task_message(answer.task),
        replayed=answer.replayed,
        receipt=None if answer.receipt is None else receipt_message(answer.receipt),
    )


def execute_response(answer: Answered) -> pb.ExecuteTaskResponse:
    """A task and its output."""
    task = task_message(answer.task)
    return pb.ExecuteTaskResponse(
        task=task,
        output=task.output if task.HasField("output") else None,
        replayed=answer.replayed,
        receipt=None if answer.receipt is None else receipt_message(answer.receipt),
    )


def history_message(history: TaskHistory) -> pb.TaskHistory:
    """A task with its whole history."""
    return pb.TaskHistory(
        request_id=history.request_id,
        attempts=[_attempt(attempt) for attempt in history.attempts],
        events=[event_message(event) for event in history.events],
        source=history.source,
    )


def explanation_message(found: ExplanationView) -> pb.ExplainTaskResponse:
    """Why a task is where it is."""
    return pb.ExplainTaskResponse(
        task_id=found.task_id,
        status=status_number(found.status),
        phase=found.phase,
        reason=found.reason,
        text=found.text,
        mover=found.mover,
        since=stamp(found.since),
        due_at=stamp(found.due_at),
        step=found.step,
        attempt=found.attempt,
        service=found.service,
        lane=found.lane,
        worker=found.worker,
        records_before=found.records_before,
        members=found.members,
        remarks=[
            pb.ExplainTaskResponse.Remark(code=remark.code, text=remark.text)
            for remark in found.remarks
        ],
    )


def receipt_message(receipt: Receipt) -> pb.Receipt:
    """The position of a record, and its answer."""
    return pb.Receipt(
        topic=receipt.topic,
        partition=receipt.partition,
        offset=receipt.offset,
        command_id=receipt.command_id,
        answer=None if receipt.answer is None else event_message(receipt.answer),
    )


def _attempt(attempt: PastAttempt) -> pb.Attempt:
    return pb.Attempt(
        step=step_message(attempt.step),
        lane=attempt.lane,
        worker=attempt.worker,
        dispatched_at=stamp(attempt.dispatched_at),
        next_attempt_at=stamp(attempt.next_attempt_at),
    )
