"""Commits of a consumer that is not a member of its group any more."""

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError

from streams.runtime.membership import commit_as_member_only
from streams.settings import KafkaSettings


@pytest.mark.parametrize("guarded", [True, False])
async def test_an_expelled_member_does_not_set_the_positions_of_an_empty_group_back(
    kafka: KafkaSettings, group: str, topics: list[str], guarded: bool
) -> None:
    tp = TopicPartition(topics[0], 0)
    # As after an expulsion: it knows its partitions, and has no generation.
    expelled = AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap, group_id=group, enable_auto_commit=False
    )
    async with expelled:
        expelled.assign([tp])
        # A successor that has left again.
        await expelled.commit({tp: 5})
        if guarded:
            commit_as_member_only(expelled._coordinator)
            with pytest.raises(CommitFailedError):
                await expelled.commit({tp: 2})
            assert await expelled.committed(tp) == 5
        else:
            # Kafka takes it: otherwise there would be nothing to guard against.
            await expelled.commit({tp: 2})
            assert await expelled.committed(tp) == 2
