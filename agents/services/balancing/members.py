"""The endpoints of a service with a client each, and the calls that run on them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from agents.services.balancing.choice import Choice, fewer_of_two
from agents.services.balancing.ejection import EndpointHealth, EndpointStanding, usable
from agents.services.client import StepClient
from agents.services.discovery.endpoint import Endpoint

FAILED_CHECKS = 2
"""One that is not well so often in a row is left out; one answer puts it back."""

MakeClient = Callable[[Endpoint], StepClient]


@dataclass(slots=True, eq=False)
class PoolMember:
    """One endpoint."""

    endpoint: Endpoint
    client: StepClient
    calls: int = 0
    """In flight."""
    health: EndpointHealth = field(default_factory=EndpointHealth)
    failed_checks: int = 0
    """Questions in a row to which it did not say that it is well."""
    is_leaving: bool = False
    """It takes no new call, and its client is closed after its last one."""

    def standing(self, now_s: float) -> EndpointStanding:
        """How it stands now, by its calls and by what it says."""
        if self.failed_checks >= FAILED_CHECKS:
            return EndpointStanding.LEFT_OUT
        return self.health.standing(now_s)


class Members:
    """Does no I/O: clients that are to be closed are returned.

    Args:
        make: opens the client of an endpoint, without connecting.
        clock: seconds; it never goes back.
        chance: draws from [0, 1).
        choice: which of several endpoints gets a call.
    """

    def __init__(
        self,
        make: MakeClient,
        *,
        clock: Callable[[], float],
        chance: Callable[[], float],
        choice: Choice = fewer_of_two,
    ) -> None:
        self._make = make
        self._clock = clock
        self._chance = chance
        self._choice = choice
        self._members: dict[Endpoint, PoolMember] = {}
        self._leaving: dict[Endpoint, PoolMember] = {}

    def __len__(self) -> int:
        return len(self._members)

    def replace(self, endpoints: Sequence[Endpoint]) -> list[StepClient]:
        """Take another list of endpoints; return the clients that no call uses any more.

        An endpoint that is back before its last call has ended keeps its client.
        """
        gone = [self._members.pop(one) for one in self._members.keys() - set(endpoints)]
        for member in gone:
            member.is_leaving = True
            if member.calls:
                self._leaving[member.endpoint] = member
        for endpoint in endpoints:
            if endpoint in self._members:
                continue
            back = self._leaving.pop(endpoint, None)
            if back is not None:
                back.is_leaving = False
            self._members[endpoint] = back or PoolMember(endpoint, self._make(endpoint))
        return [member.client for member in gone if not member.calls]

    def take(self, tried: Collection[Endpoint] = ()) -> PoolMember | None:
        """Choose an endpoint for a call, which ends with :meth:`give_back`.

        None: there is no endpoint but those that were tried.
        """
        now_s = self._clock()
        members = [one for one in self._members.values() if one.endpoint not in tried]
        if not members:
            return None
        standings = [one.standing(now_s) for one in members]
        among = [members[index] for index in usable(standings, [one.calls for one in members])]
        chosen = among[self._choice([one.calls for one in among], self._chance(), self._chance())]
        chosen.calls += 1
        return chosen

    def give_back(self, member: PoolMember, *, failed: bool | None) -> bool:
        """End a call; return whether the endpoint is left out from now on.

        Args:
            member: from :meth:`take`.
            failed: None: the call says nothing about its endpoint.
        """
        member.calls -= 1
        if failed is None:
            return False
        now_s, before = self._clock(), member.health
        member.health = before.after(failed=failed, now_s=now_s, chance=self._chance())
        return member.health.times > before.times

    def endpoints(self) -> list[Endpoint]:
        """Those that are in the list now."""
        return list(self._members)

    def note_check(self, endpoint: Endpoint, *, well: bool) -> bool:
        """Note what an endpoint said; return whether it is left out from now on for that."""
        member = self._members.get(endpoint)
        if member is None:
            return False
        member.failed_checks = 0 if well else member.failed_checks + 1
        return member.failed_checks == FAILED_CHECKS

    def drained(self) -> list[StepClient]:
        """The clients of endpoints that left and whose last call has ended; each only once."""
        ended = [one for one in self._leaving.values() if not one.calls]
        for member in ended:
            del self._leaving[member.endpoint]
        return [member.client for member in ended]

    def left_out(self) -> int:
        """How many endpoints are left out now."""
        now_s = self._clock()
        standings = (one.standing(now_s) for one in self._members.values())
        return sum(standing is EndpointStanding.LEFT_OUT for standing in standings)

    def clear(self) -> list[StepClient]:
        """Forget all endpoints; return all clients that are open."""
        members = [*self._members.values(), *self._leaving.values()]
        self._members, self._leaving = {}, {}
        return [member.client for member in members]
