"""Why a replay does not run, or stops."""

from schemas.errors import OrchestratorError


class ReplayRunningError(OrchestratorError):
    """Another replay is running. Wait for it, or stop it; nothing was sent."""

    code = "REPLAY_RUNNING"
    retriable = True


class ReplaySupersededError(OrchestratorError):
    """This replay was silent for too long and another one took over: it sends nothing more.

    The other replay finds, or sends, the records that this one was about to send.
    """

    code = "REPLAY_SUPERSEDED"


class LetterUnknownError(OrchestratorError):
    """No dead letter has this id, or several ids begin with it."""

    code = "LETTER_UNKNOWN"


class LettersGoneError(OrchestratorError):
    """The index lists letters that their topics no longer hold: retention removed them.

    Nothing was replayed. ``orchestrator dlq reindex`` rebuilds the index from the topics.
    """

    code = "LETTERS_GONE"
