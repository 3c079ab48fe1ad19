"""The vectors of all passages: computed once for each state of the documents, and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import httpx
import numpy as np

from orchestrator.local.demo.passages import Passage, heading_of
from orchestrator.local.embedded.progress import Progress
from orchestrator.local.models.errors import ModelsUnavailableError

_BATCH = 32
_REQUEST_S = 60.0
_SAID_EVERY = 128


async def passage_vectors(
    url: str, passages: Sequence[Passage], cache_path: Path, *, progress: Progress
) -> Path:
    """A file of one vector for each passage, in their order.

    Args:
        url: the API of the embeddings server, up to ``/v1``.
        passages: what is to be found.
        cache_path: where the file is kept.
        progress: called before vectors are computed.

    Raises:
        ModelsUnavailableError: the server failed, or the file cannot be written.
    """
    texts = [f"{heading_of(passage.title)}: {passage.text}" for passage in passages]
    digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
    target = cache_path / f"vectors-{digest}.npy"
    if target.is_file():
        return target
    progress(f"Embedding {len(texts)} passages of the documents, once for each state of them ...")
    vectors: list[list[float]] = []
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=_REQUEST_S) as http:
            for start in range(0, len(texts), _BATCH):
                batch = texts[start : start + _BATCH]
                body = {"input": batch, "input_type": "passage"}
                answer = await http.post(f"{url}/embeddings", json=body)
                vectors += [one["embedding"] for one in answer.raise_for_status().json()["data"]]
                if start // _SAID_EVERY != len(vectors) // _SAID_EVERY:
                    progress(f"{len(vectors)} of {len(texts)} passages are embedded")
        half = target.with_suffix(f".{id(vectors)}.npy")
        np.save(half, np.asarray(vectors, dtype=np.float32))
        half.rename(target)
    except (httpx.HTTPError, OSError, KeyError, ValueError) as error:
        raise ModelsUnavailableError(f"the documents cannot be embedded: {error}") from error
    return target
