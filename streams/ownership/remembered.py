"""Whether the topics are still those that remembered offsets belong to. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from streams.errors import LogTrimmedError, TopicReplacedError
from streams.ownership.ports import Adoption, Checkpoint

_ADOPT = "say what it is with `orchestrator topics adopt`"


def topics_made_again(
    checkpoint: Checkpoint,
    ids: Mapping[str, str],
    adoptions: Mapping[str, Adoption],
    *,
    snapshots_topic: str,
) -> frozenset[str]:
    """The topics that an operator adopted as made again: their remembered offsets are void.

    Args:
        checkpoint: names the topics that its offsets belong to.
        ids: the ids of the topics that exist now; empty if the broker knows no ids.
        adoptions: by topic.
        snapshots_topic: ``task-state``, which has a rule of its own.

    Raises:
        TopicReplacedError: a topic has another id, and no operator adopted it.
    """
    made_again = set()
    for topic, remembered in checkpoint.topics.items():
        current = ids.get(topic)
        if topic == snapshots_topic:
            continue
        if current is None or current == remembered:
            continue
        adoption = adoptions.get(topic)
        if adoption is None or adoption.topic_id != current:
            raise TopicReplacedError(
                f"{topic} has the id {current}, offsets are remembered for {remembered}: {_ADOPT}"
            )
        if adoption.made_again:
            made_again.add(topic)
    return frozenset(made_again)


def check_ends(
    remembered: Mapping[str, int], ends: Mapping[str, int], made_again: frozenset[str]
) -> None:
    """Detect a topic that ends before an offset that was decided.

    Args:
        remembered: by topic, the highest offset that was decided.
        ends: by topic, the offset of the next record.
        made_again: topics whose offsets are not remembered.

    Raises:
        TopicReplacedError: a topic ends before its remembered offset.
    """
    for topic, offset in remembered.items():
        end = ends.get(topic)
        if end is not None and end <= offset and topic not in made_again:
            raise TopicReplacedError(
                f"{topic} ends at {end}, but offset {offset} of it was decided: {_ADOPT}"
            )


def check_log_start(
    topic: str, *, first: int, wanted: int, adoption: Adoption | None, topic_id: str | None
) -> bool:
    """Detect records that were removed before they were read; True if they are given up.

    Args:
        topic: the log.
        first: the first offset that it has.
        wanted: the offset from which it has to be read.
        adoption: an operator's statement about the topic.
        topic_id: the id of the topic that exists now.

    Raises:
        LogTrimmedError: records are missing, and no operator gave them up.
    """
    if first <= wanted:
        return False
    known = adoption is not None and topic_id in (None, adoption.topic_id)
    if adoption is not None and known and adoption.log_start >= first:
        return True
    raise LogTrimmedError(
        f"{topic} begins at {first}, the checkpoint says {wanted}: {first - wanted} events are "
        "missing; give them up with `orchestrator topics adopt`"
    )
