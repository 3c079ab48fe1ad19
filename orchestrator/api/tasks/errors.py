"""Why a task or its history was not found, before a transport renders the reason."""

from schemas.errors import OrchestratorError


class TaskUnknownError(OrchestratorError):
    """Neither the log nor Postgres knows the task, and its owner has no record to decide."""

    code = "TASK_UNKNOWN"


class CreationRefusedError(OrchestratorError):
    """The task does not exist: its creation is a dead letter, whose code is ``code``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class TaskExpiredError(OrchestratorError):
    """The log no longer holds the whole task, and Postgres did not answer. Ask again later."""

    code = "HISTORY_EXPIRED"
    retriable = True
