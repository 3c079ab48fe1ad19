"""Why a replay does not run, or stops."""

from schemas.errors import OrchestratorError


class ReplayRunningError(OrchestratorError):
    """Another replay shows signs of life. Wait for it, or stop it; nothing was sent."""

    code = "REPLAY_RUNNING"
    retriable = True


class ReplaySupersededError(OrchestratorError):
    """This replay was silent for so long that another one took over: it sends nothing more.

    What it was about to send is found, or sent, by the other one.
    """

    code = "REPLAY_SUPERSEDED"


class LetterUnknownError(OrchestratorError):
    """No dead letter has this id, or several ids begin so."""

    code = "LETTER_UNKNOWN"


class LettersGoneError(OrchestratorError):
    """The index lists letters that their topics do not hold: retention took them.

    Nothing was replayed. ``orchestrator dlq reindex`` makes the index as the topics are.
    """

    code = "LETTERS_GONE"
