"""How a step fails: what its function raises, and what the servers make of it."""

import math
import re
from enum import Enum

_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


class Refused(Exception):
    """The input is wrong or the step cannot do it: the task fails, and is not tried again.

    The text is stored with the task and shown to its tenant: put no input and no secret into it.

    Args:
        code: upper snake case, at most 64 characters; it appears in the message of the error.
        message: a sentence for people.

    Raises:
        ValueError: the code has another form.
    """

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(message or code)
        self.code = _checked(code)


class TryAgain(Exception):
    """The step cannot do it now: the router schedules another attempt, with growing pauses.

    Args:
        message: a sentence for people, without input and secrets.
        after_s: the next attempt comes no sooner, in seconds; None: the router decides.
        code: as of :class:`Refused`.
        busy: True: the step has no capacity. The same attempt is made again and none is spent.

    Raises:
        ValueError: the code has another form, or ``after_s`` is negative or not a number.
    """

    def __init__(
        self,
        message: str = "",
        *,
        after_s: float | None = None,
        code: str = "TRY_AGAIN",
        busy: bool = False,
    ) -> None:
        super().__init__(message or code)
        if after_s is not None and not 0 <= after_s < math.inf:
            raise ValueError(f"after_s is {after_s}; it must be seconds, 0 or more")
        self.after_s = after_s
        self.code = _checked(code)
        self.busy = busy


class Cancelled(Exception):
    """The caller gave the call up, or its time is over; the answer is not used.

    Raised in a plain function by :meth:`Call.check`. An ``async`` function gets
    ``asyncio.CancelledError`` instead.
    """


class Kind(Enum):
    """Why a call failed: the HTTP status and the name of the gRPC status that say so."""

    INPUT = (400, "INVALID_ARGUMENT")
    METHOD = (405, "UNIMPLEMENTED")
    # Not retriable: the work was done, and would be paid for again.
    OUTPUT = (422, "FAILED_PRECONDITION")
    BUSY = (429, "RESOURCE_EXHAUSTED")
    BROKEN = (500, "INTERNAL")
    LATER = (503, "UNAVAILABLE")
    LATE = (504, "DEADLINE_EXCEEDED")


class CallFailedError(Exception):
    """A call without an answer, as the servers report it."""

    def __init__(self, kind: Kind, code: str, message: str, after_s: float | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.code = code
        self.message = message
        self.after_s = after_s


def _checked(code: str) -> str:
    if not _CODE.fullmatch(code):
        raise ValueError(f"{code!r} is not a code: upper snake case, at most 64 characters")
    return code
