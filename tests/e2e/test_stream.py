"""An answer can be watched while it grows."""

import pytest

from schemas.codec import decode
from schemas.records import ChunkKind, StreamChunk
from streams.kafka.log_reader import LogReader
from streams.kafka.partitioner import partition_of
from tests.e2e.driving import Running, a_rag_task

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_chunks_of_an_answer_are_in_the_stream_before_the_task_ends(
    running: Running,
) -> None:
    task = a_rag_task()
    await running.create([task])
    row = (await running.ended([task.task_id]))[task.task_id]

    topic = running.topics.stream
    partition = partition_of(task.task_id.encode(), running.system.settings.topics.partitions)
    async with LogReader(running.system.settings.kafka, client_id="test") as reader:
        first, end = await reader.bounds(topic, partition)
        batches = [batch async for batch in reader.read(topic, partition, first, end)]
    chunks = [
        decode(record.value, StreamChunk)
        for batch in batches
        for record in batch
        if record.key == task.task_id.encode()
    ]
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    assert {(c.step, c.attempt, c.kind) for c in chunks} == {("generate", 1, ChunkKind.TEXT)}
    assert "".join(chunk.data for chunk in chunks).strip() in row["output"]
