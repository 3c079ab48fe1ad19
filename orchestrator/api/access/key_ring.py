"""All keys that the service knows now."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.api.access.keys import Key, Keys
from orchestrator.api.errors import ApiError, Kind
from schemas.records import Millis
from streams.clock import now_ms
from streams.watched_file import WatchedFile


class KeyRing:
    """The keys of the environment, and those of a file, which is read again when it changes.

    Where both have a key, the file decides: so a key of the environment can be revoked.
    """

    def __init__(
        self,
        fixed: Keys,
        file: WatchedFile[Keys] | None = None,
        clock: Callable[[], Millis] = now_ms,
    ) -> None:
        self._fixed = fixed
        self._file = file
        self._clock = clock

    def __bool__(self) -> bool:
        # An empty file is not a service without keys: it refuses everybody.
        return bool(self._fixed) or self._file is not None

    def __len__(self) -> int:
        of_file = {} if self._file is None else self._file.value().by_hash
        return len(self._fixed.by_hash.keys() | of_file.keys())

    def valid(self, digest: str) -> Key:
        """The key with this hash.

        Raises:
            ApiError: UNAUTHENTICATED: there is no such key; KEY_REVOKED, KEY_EXPIRED.
        """
        key = None if self._file is None else self._file.value().by_hash.get(digest)
        key = key or self._fixed.by_hash.get(digest)
        if key is None:
            raise ApiError("UNAUTHENTICATED", "this key is not known", kind=Kind.UNAUTHENTICATED)
        if key.revoked_at is not None:
            raise key_revoked()
        if key.expires_at is not None and key.expires_at <= self._clock():
            raise key_expired()
        return key


def key_revoked() -> ApiError:
    """The key was taken back."""
    return ApiError("KEY_REVOKED", "this key was revoked", kind=Kind.UNAUTHENTICATED)


def key_expired() -> ApiError:
    """The time of the key, or of the token, is over."""
    return ApiError("KEY_EXPIRED", "this key has expired", kind=Kind.UNAUTHENTICATED)
