"""The requests about tasks, in one form for HTTP and gRPC. Documents are raw JSON."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Raw, Struct, field

BATCH_MAX = 1_000
PAGE_MAX = 1_000
PAGE_DEFAULT = 100

Reason = Annotated[str, Meta(max_length=2_000)]
PageSize = Annotated[int, Meta(ge=1, le=PAGE_MAX)]


class Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all requests: an unknown field is an error and never ignored."""


class CreateTask(Request, frozen=True, kw_only=True):
    """A task to be created."""

    type: str
    input: Raw = field(default_factory=lambda: Raw(b"{}"))
    priority: Annotated[int, Meta(ge=0, le=10)] = 5
    conversation_id: str | None = None
    user_id: str | None = None
    metadata: Raw = field(default_factory=lambda: Raw(b"{}"))
    hold: bool = False
    timeout_ms: Annotated[int, Meta(ge=1, le=86_400_000)] | None = None
    deadline_at: datetime | None = None
    request_id: str | None = None
    """The idempotency key; over HTTP also the header ``Idempotency-Key``."""
    pipeline_version: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None


class BatchCreate(Request, frozen=True, kw_only=True):
    """Tasks to be created together."""

    tasks: Annotated[list[CreateTask], Meta(min_length=1, max_length=BATCH_MAX)]


class Execute(Request, frozen=True, kw_only=True):
    """The reason why a held task is released."""

    reason: Reason | None = None


class ExecutePending(Request, frozen=True, kw_only=True):
    """Release held tasks."""

    limit: PageSize = PAGE_DEFAULT
    type: str | None = None


class Cancel(Request, frozen=True, kw_only=True):
    """The reason why a task is cancelled."""

    reason: Reason | None = None


class Retry(Request, frozen=True, kw_only=True):
    """The step at which a new run begins, and the reason."""

    from_step: Annotated[str, Meta(max_length=64)] | None = None
    reason: Reason | None = None
    run: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    """Retry only if this run is the last one; otherwise nothing happens, without an answer."""


class SetPriority(Request, frozen=True, kw_only=True):
    """The new priority, and the reason."""

    priority: Annotated[int, Meta(ge=0, le=10)]
    reason: Reason | None = None


class ListTasks(Request, frozen=True, kw_only=True):
    """The filter of a list of tasks."""

    status: str | None = None
    type: str | None = None
    conversation_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    order_by: str = "newest"
    page_size: PageSize = PAGE_DEFAULT
    page_token: str = ""


class ListLogs(Request, frozen=True, kw_only=True):
    """The requested part of an audit trail."""

    page_size: PageSize = PAGE_DEFAULT
    page_token: str = ""


class GetUsage(Request, frozen=True, kw_only=True):
    """The filter and the grouping of usage."""

    by: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
