"""Which records of task-events count: the acceptance rule, for any client."""

from typing import Any

Owner = tuple[int, str]


def accept(owners: dict[int, Owner], partition: int, event: dict[str, Any]) -> bool:
    """Say whether an event counts. Keep ``owners`` from one call to the next."""
    current = owners.get(partition)
    claim = (event["owner_epoch"], event["owner"])
    if event["kind"] == "ownership_taken":  # a marker: a new owner announces itself
        if current is None or claim[0] == current[0] + 1:
            owners[partition] = claim
        return False
    return claim == current


def prevail(owner: Owner | None, event: dict[str, Any]) -> Owner:
    """Who owns a partition, found by looking back: whoever has the highest epoch."""
    if owner is None or event["owner_epoch"] > owner[0]:
        return (event["owner_epoch"], event["owner"])
    return owner
