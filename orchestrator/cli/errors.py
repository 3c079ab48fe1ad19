"""The errors of the commands about tasks."""

from schemas.errors import OrchestratorError


class AnswerError(OrchestratorError):
    """The answer to a command, or to the creation of a task, is a refusal with this ``code``.

    The same request is refused again until the task or the record changes.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
