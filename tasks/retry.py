"""When a failed attempt is followed by another one."""

from dataclasses import dataclass

_EXPONENT_MAX = 64
"""2 ** 64 half-seconds is past every cap; 2 ** 1100 would not fit into a float."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Capped exponential backoff, spread by 10 % so that failed calls do not come back in step.

    After failed attempt ``a`` (the first is 1) the wait is
    ``min(max_delay_s, base_delay_s * 2 ** (a - 1))``, by default 0.5 s, 1 s and 2 s.

    Source: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    max_attempts: int = 4
    """The first one included: 1 means never again."""
    base_delay_s: float = 0.5
    max_delay_s: float = 30.0
    """Before the spread; a ``Retry-After`` may exceed it."""

    def __post_init__(self) -> None:
        if not 1 <= self.max_attempts <= 100:
            raise ValueError(f"max_attempts is {self.max_attempts}; it must be 1..100")
        if not 0 < self.base_delay_s <= self.max_delay_s <= 3600:
            raise ValueError("delays must be 0 < base_delay_s <= max_delay_s <= 3600")

    def delay_ms(self, attempt: int, *, jitter: float, retry_after_ms: int | None = None) -> int:
        """How long to wait after a failed attempt.

        Args:
            attempt: the one that failed, from 1.
            jitter: a draw from ``[0, 1)``.
            retry_after_ms: the least wait that the service asked for; it is not capped here,
                the task's deadline bounds it.
        """
        backoff_s = self.base_delay_s * 2.0 ** min(max(attempt - 1, 0), _EXPONENT_MAX)
        spread = 0.9 + 0.2 * min(max(jitter, 0.0), 1.0)
        delay_ms = round(min(self.max_delay_s, backoff_s) * spread * 1000)
        return max(delay_ms, retry_after_ms or 0)
