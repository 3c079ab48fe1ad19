"""The published schemas are a contract: typed records equal them, and they never break."""

import json
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from avro.schema import Schema, parse

from schemas.records import WIRE_RECORDS, Record
from schemas.registry import SchemaVersion, current_text, load_versions

RECORD_NAMES = [record.__name__ for record in WIRE_RECORDS]


def versions_of(record: str) -> list[SchemaVersion]:
    return [version for version in load_versions() if version.record == record]


def nested_records(schema: Any) -> dict[str, dict[str, Any]]:
    """Every record and enum definition inside a schema, by name."""
    found: dict[str, dict[str, Any]] = {}

    def visit(node: Any) -> None:
        if isinstance(node, list):
            for item in node:
                visit(item)
        elif isinstance(node, dict):
            if node.get("type") in ("record", "enum"):
                found[node["name"]] = node
            for item in node.values():
                visit(item)

    visit(schema)
    return found


ALL_TYPES = {
    name: definition
    for record in RECORD_NAMES
    for name, definition in nested_records(json.loads(current_text(record))).items()
}


def typed_classes() -> dict[str, type[Record]]:
    import schemas.records as module

    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Record) and value is not Record
    }


@pytest.mark.parametrize("name", sorted(typed_classes()))
def test_a_typed_record_has_the_fields_and_defaults_of_its_schema(name: str) -> None:
    typed = {field.encode_name: field for field in msgspec.structs.fields(typed_classes()[name])}
    schema = {field["name"]: field for field in ALL_TYPES[name]["fields"]}

    assert list(typed) == list(schema)
    for field_name, field in typed.items():
        declared = schema[field_name]
        if field.default is not msgspec.NODEFAULT:
            assert declared["default"] == msgspec.to_builtins(field.default)
        elif field.default_factory is not msgspec.NODEFAULT:
            assert declared["default"] == field.default_factory()
        else:
            assert "default" not in declared


@pytest.mark.parametrize("name", sorted(typed_classes()))
def test_an_optional_field_is_optional_on_both_sides(name: str) -> None:
    hints = get_type_hints(typed_classes()[name])
    for field in ALL_TYPES[name]["fields"]:
        hint = hints[field["name"]]
        optional = get_origin(hint) in (Union, UnionType) and type(None) in get_args(hint)

        assert optional == (isinstance(field["type"], list) and field["type"][0] == "null")


@pytest.mark.parametrize("name", RECORD_NAMES)
def test_the_current_schema_is_the_newest_published_version(name: str) -> None:
    assert current_text(name) == versions_of(name)[-1].text


def test_schema_ids_are_unique() -> None:
    ids = [version.id for version in load_versions()]

    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", RECORD_NAMES)
def test_every_version_reads_what_every_other_version_wrote(name: str) -> None:
    schemas: list[Schema] = [parse(version.text) for version in versions_of(name)]
    checker = ReaderWriterCompatibilityChecker()
    for reader in schemas:
        for writer in schemas:
            result = checker.get_compatibility(reader, writer)

            assert result.compatibility is SchemaCompatibilityType.compatible, result.messages


def test_the_compatibility_check_sees_a_field_without_default() -> None:
    old = json.loads(current_text("Control"))
    new = {**old, "fields": [*old["fields"], {"name": "added", "type": "string"}]}
    checker = ReaderWriterCompatibilityChecker()

    result = checker.get_compatibility(parse(json.dumps(new)), parse(json.dumps(old)))

    assert result.compatibility is SchemaCompatibilityType.incompatible


def test_types_that_several_records_share_are_the_same_everywhere() -> None:
    for record in RECORD_NAMES:
        for name, definition in nested_records(json.loads(current_text(record))).items():
            assert definition == ALL_TYPES[name], f"{name} in {record}"


@pytest.mark.parametrize("name", sorted(n for n, d in ALL_TYPES.items() if d["type"] == "enum"))
def test_an_enum_has_a_default_for_symbols_of_newer_writers(name: str) -> None:
    assert ALL_TYPES[name]["default"] == "unknown"


@pytest.mark.parametrize("name", sorted(n for n, d in ALL_TYPES.items() if d["type"] == "record"))
def test_every_field_but_ids_and_times_has_a_default(name: str) -> None:
    for field in ALL_TYPES[name]["fields"]:
        required = "default" not in field
        is_id_or_time = field["name"].endswith("_id") or field["name"] == "at"
        is_id_or_time = is_id_or_time or field["name"].endswith("_at")

        assert not required or is_id_or_time, field["name"]


def test_no_schema_refers_to_itself() -> None:
    # A recursive schema lets a small value drive a decoder into the ground.
    for record in RECORD_NAMES:
        definitions = nested_records(json.loads(current_text(record)))
        for name, definition in definitions.items():
            if definition["type"] == "record":
                inner = json.dumps(definition["fields"])

                assert f'"type": "{name}"' not in inner
                assert f'"orchestrator.v1.{name}"' not in inner
