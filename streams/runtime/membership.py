"""Commits of a consumer that its group has expelled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiokafka.errors import UnknownMemberIdError


def commit_as_member_only(coordinator: Any) -> None:
    """Let a coordinator of aiokafka refuse a commit while it is not a member of its group.

    Between an expulsion and the next join it commits without a generation. Kafka takes that for a
    group without members: it would set the positions back to those of the expelled process, and
    what its successors had done and forgotten would be delivered again.
    """
    commit = coordinator._do_commit_offsets

    async def commit_as_member(assignment: Any, offsets: Mapping[Any, Any]) -> None:
        if offsets and coordinator.generation < 0:
            raise UnknownMemberIdError(coordinator.group_id)
        await commit(assignment, offsets)

    coordinator._do_commit_offsets = commit_as_member
