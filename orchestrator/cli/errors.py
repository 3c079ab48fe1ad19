"""The errors of the commands about tasks."""

from schemas.errors import OrchestratorError


class TaskUnknownError(OrchestratorError):
    """Neither the log nor Postgres knows the task, and its owner has no record to decide."""

    code = "TASK_UNKNOWN"


class TaskExpiredError(OrchestratorError):
    """The log no longer holds the whole task, and Postgres did not answer. Ask again later."""

    code = "HISTORY_EXPIRED"
    retriable = True


class AnswerError(OrchestratorError):
    """The answer to a command, or to the creation of a task, is a refusal with this ``code``.

    The same request is refused again until the task or the record changes.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
