"""Times as commands print them."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def iso(time: datetime | int | None) -> str | None:
    """A time as ISO 8601 text in UTC, to the millisecond; Unix milliseconds are taken, too."""
    if time is None:
        return None
    moment = _EPOCH + timedelta(milliseconds=time) if isinstance(time, int) else time
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
