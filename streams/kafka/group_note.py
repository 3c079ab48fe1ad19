"""What a member of a consumer group says about itself beside its offsets. Pure.

Whoever may commit for the group can write there, and a text stays until the next commit of its
partition, also when its writer is gone. So a note has a mark and a time; its writer repeats it.

A router says the epoch of its ownership instead: whose acknowledgements the offset stands for.
"""

from schemas.printable import on_one_line

REPEAT_S = 5.0
"""How often a member repeats its note."""
_FRESH_S = 60.0
"""An older note is not current. Also the difference of two clocks that does not matter."""
_TEXT_MAX = 300
"""Characters. Kafka allows 4,096 bytes beside an offset (``offset.metadata.max.bytes``)."""
_MARK = "ai-orchestrator-note"
_EPOCH_MARK = "ai-orchestrator-epoch"


def written_note(text: str, now_s: float) -> str:
    """The note as it is committed; empty for an empty text.

    Args:
        text: what the member says, on one line.
        now_s: Unix time in seconds.
    """
    return f"{_MARK} {now_s:.0f} {text[:_TEXT_MAX]}" if text else ""


def read_note(found: str, now_s: float) -> str:
    """The printable text of a current note; empty for any other text beside an offset."""
    mark, _, rest = found.partition(" ")
    at, _, text = rest.partition(" ")
    if mark != _MARK or not (at.isascii() and at.isdecimal() and len(at) < 16):
        return ""
    return on_one_line(text[:_TEXT_MAX]) if abs(now_s - int(at)) <= _FRESH_S else ""


def written_epoch(epoch: int) -> str:
    """The epoch of an owner as it is committed."""
    return f"{_EPOCH_MARK} {epoch}"


def read_epoch(found: str) -> int | None:
    """The epoch beside an offset; None if there is none."""
    mark, _, number = found.partition(" ")
    known = mark == _EPOCH_MARK and number.isascii() and number.isdecimal() and len(number) < 19
    return int(number) if known else None
