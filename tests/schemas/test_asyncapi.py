"""schemas/asyncapi.yaml: fresh, valid, and the same as the topic table and the schemas."""

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from schemas.asyncapi import FILE, text
from schemas.records import StepName
from schemas.registry import current_text
from schemas.topics import Topics

TEXT = Path(FILE).read_text("utf-8")
DOCUMENT: dict[str, Any] = yaml.safe_load(TEXT)
CHANNELS = DOCUMENT["channels"]


def test_the_file_is_what_the_table_and_the_schemas_say_today() -> None:
    assert text() == TEXT, "stale: run `make asyncapi`"


def test_it_is_an_asyncapi_3_document_for_another_implementation() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about names of its own fields
        from asyncapi3 import AsyncAPI3
    read = AsyncAPI3.model_validate(DOCUMENT)

    assert read.asyncapi == "3.0.0"
    assert set(read.model_dump()["channels"]) == set(CHANNELS)


def test_every_reference_leads_somewhere() -> None:
    references = list(_references(DOCUMENT))
    for reference in references:
        found: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            assert part in found, reference
            found = found[part]

    assert len(references) > 30


def test_every_topic_is_the_address_of_a_channel() -> None:
    addresses = {
        channel["address"].replace("{step}", "retrieve").replace("{lane}", lane)
        for channel in CHANNELS.values()
        for lane in ("high", "normal", "low")
    }

    assert addresses == {topic.name for topic in Topics().table([StepName("retrieve")])}


def test_the_payload_of_each_message_is_the_current_schema_with_its_ids() -> None:
    messages = DOCUMENT["components"]["messages"]
    lock = json.loads(Path("schemas/avro/lock.json").read_text("utf-8"))
    for record, versions in lock.items():
        assert messages[record]["payload"]["schema"] == json.loads(current_text(record))
        assert list(messages[record]["x-schema-ids"].values()) == [v["id"] for v in versions]


def test_others_send_into_the_input_topics_and_receive_all_else() -> None:
    sent = {
        operation["channel"]["$ref"].rsplit("/", 1)[-1]
        for operation in DOCUMENT["operations"].values()
        if operation["action"] == "send"
    }

    assert sent == {"task-created", "task-commands"}
    assert len(DOCUMENT["operations"]) == len(CHANNELS)


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for item in node:
            yield from _references(item)
