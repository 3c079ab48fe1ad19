"""What the commands about tasks end with when the answer is no."""

from schemas.errors import OrchestratorError


class TaskUnknownError(OrchestratorError):
    """Neither the log nor Postgres knows the task, and nobody waits for it by admission."""

    code = "TASK_UNKNOWN"


class TaskExpiredError(OrchestratorError):
    """The log no longer holds the whole task, and Postgres did not answer. Ask again later."""

    code = "HISTORY_EXPIRED"
    retriable = True


class AnswerError(OrchestratorError):
    """The answer to a command, or to a wish for a task, is no; ``code`` is the answer's.

    The same order gets the same answer again, until the task or the record changes.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
