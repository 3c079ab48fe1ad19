"""The list that ``make observe`` prints, at most 80 columns wide. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from tests.monitoring.observe.sightings import SOUND, Seen, Sighting

WIDTH = 80


def lines(
    sightings: Sequence[Sighting], uncaused: Mapping[str, str], *, alerts: Mapping[str, str]
) -> Iterator[str]:
    """The whole report.

    Args:
        sightings: of all expressions.
        uncaused: by name, why an expression may have been empty or zero.
        alerts: the alerts that the webhook received, and its receiver.
    """
    seen = [one for one in sightings if one.seen is Seen.DATA]
    always = [one for one in seen if one.during == SOUND]
    yield from _part("Data while all is well", always)
    for fault in dict.fromkeys(one.during for one in seen if one.during != SOUND):
        yield from _part(f"Only when: {fault}", [one for one in seen if one.during == fault])
    compared = [one for one in sightings if one.seen is Seen.COMPARED]
    yield from _part("Below the threshold; promtool tests that they fire", compared)
    rest = [one for one in sightings if one.seen in (Seen.ZERO, Seen.NOTHING)]
    yield from _part("Not caused here", [r for r in rest if r.expression.name in uncaused])
    for name in dict.fromkeys(r.expression.name for r in rest if r.expression.name in uncaused):
        yield from _wrapped(f"{name}: {uncaused[name]}")
    yield from _part("MISSING", failures(sightings, uncaused))
    yield ""
    yield f"Delivered to the webhook: {len(alerts)} alerts"
    for name, receiver in sorted(alerts.items()):
        yield f"  {name} ({receiver})"


def failures(sightings: Sequence[Sighting], uncaused: Mapping[str, str]) -> list[Sighting]:
    """The expressions that should have returned data, and did not."""
    return [
        one
        for one in sightings
        if one.seen in (Seen.ZERO, Seen.NOTHING) and one.expression.name not in uncaused
    ]


def _part(title: str, sightings: Sequence[Sighting]) -> Iterator[str]:
    if not sightings:
        return
    yield ""
    yield f"{title}: {len(sightings)}"
    for one in sightings:
        yield f"  {one.at_s:4.0f} s {one.seen.value:<8} {one.expression.name}"[:WIDTH]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ")
