"""When a call is made again, and at which replica. Pure: clocks and randomness are arguments."""

import math
from collections.abc import Sequence

from ai_orchestrator.client.errors import LimitedError, OrchestratorError, UnavailableError

_PAUSE_MIN_S = 0.1
_PAUSE_MAX_S = 2.0


class Replicas:
    """The addresses of the service, and the one that answered last."""

    def __init__(self, urls: Sequence[str]) -> None:
        if not urls:
            raise ValueError("there must be at least one address")
        self._urls = [url.rstrip("/") for url in urls]
        self._current = 0

    def __len__(self) -> int:
        return len(self._urls)

    @property
    def url(self) -> str:
        """The one to ask."""
        return self._urls[self._current]

    def leave(self, url: str) -> None:
        """Go on at the next one, if this is still the current one."""
        if url == self.url:
            self._current = (self._current + 1) % len(self._urls)


class Attempts:
    """The attempts of one call.

    Args:
        replicas: of the client.
        repeatable: whether the call may be made twice.
        until_s: no attempt begins after this time of the same clock as ``now_s``.
    """

    def __init__(self, replicas: Replicas, *, repeatable: bool, until_s: float) -> None:
        self._replicas = replicas
        self._repeatable = repeatable
        self._until_s = until_s
        self._failed = 0
        self._served_s = -math.inf

    def served(self, until_s: float, *, now_s: float) -> None:
        """Note that the service was there, before its stream broke: attempts begin anew.

        Another replica is asked at once, as of a replica that stops; if a stream breaks again and
        again, there is a pause.

        Args:
            until_s: as at the begin.
            now_s: the time.
        """
        again = now_s - self._served_s < _PAUSE_MAX_S
        self._until_s, self._served_s = until_s, now_s
        self._failed = len(self._replicas) - 1 if again else 0

    def pause_after(
        self, error: OrchestratorError, url: str, *, now_s: float, jitter: float
    ) -> float:
        """How long to wait before the next attempt, in seconds.

        Another replica is asked at once, until each of them has failed once; then pauses grow,
        and are never shorter than the service asks for.

        Args:
            error: of the attempt.
            url: the replica that failed.
            now_s: the time.
            jitter: 0 to 1; spreads callers that failed together.

        Raises:
            OrchestratorError: the same, if another attempt does not help or there is no time.
        """
        limited = isinstance(error, LimitedError) and error.retry_after_s is not None
        away = isinstance(error, UnavailableError) and (self._repeatable or not error.sent)
        if not (limited or away):
            raise error
        self._failed += 1
        if away:
            self._replicas.leave(url)
        if away and self._failed < len(self._replicas) and now_s < self._until_s:
            return 0.0
        rounds = max(0, self._failed - len(self._replicas))
        grown_s = min(_PAUSE_MAX_S, _PAUSE_MIN_S * 2.0 ** min(rounds, 10)) * (0.5 + jitter / 2)
        pause_s = max(grown_s, error.retry_after_s or 0.0)
        if now_s + pause_s > self._until_s:
            raise error
        return pause_s
