"""JSON Schemas of prompts and tools: checked, and used without fetching anything."""

from __future__ import annotations

from typing import Any

import jsonschema
import referencing
from jsonschema import Draft202012Validator
from jsonschema.protocols import Validator

from agents.services.models.prompt import PromptError


def validator_of(schema: dict[str, Any], *, what: str = "schema") -> Validator:
    """The validator of a schema. Fetches nothing.

    Raises:
        PromptError: it is not a JSON Schema.
    """
    kind = jsonschema.validators.validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise PromptError(f"{what} is no JSON Schema: {error.message[:200]}") from None
    return kind(schema, registry=referencing.Registry())


def is_valid(validator: Validator, value: Any) -> bool:
    """Whether a value satisfies a schema.

    Raises:
        PromptError: the schema has a reference that leads nowhere.
    """
    try:
        return bool(validator.is_valid(value))
    except (referencing.exceptions.Unresolvable, RecursionError):
        raise PromptError("schema has a reference that leads nowhere") from None
