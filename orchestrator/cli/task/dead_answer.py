"""Dead letters as answers: the fate of a record that its owner could not decide. Pure."""

from orchestrator.api.tasks.finder import RefusedCreation
from orchestrator.cli.errors import AnswerError
from schemas.dead_letter import Origin
from schemas.headers import header_text


def is_letter_of(letter: Origin, offset: int) -> bool:
    """True if it is the dead letter of the record at this offset of its partition's origin."""
    return header_text(letter.headers, "__dlq.errors.offset") == str(offset)


def refusal_of_letter(letter: Origin) -> RefusedCreation:
    """The letter's code and message."""
    code = header_text(letter.headers, "__dlq.errors.code") or "INTERNAL"
    message = header_text(letter.headers, "__dlq.errors.message") or "it is a dead letter"
    return RefusedCreation(code, message)


def answer_of_letter(letter: Origin) -> AnswerError:
    """The letter's code and message as an error."""
    refused = refusal_of_letter(letter)
    return AnswerError(refused.code, refused.message)
