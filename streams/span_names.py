"""The names of spans and of their attributes, and the conventions that they follow.

Sources: OpenTelemetry semantic conventions 1.44.0 (``messaging``, ``rpc``, ``http``, ``db``), and
the GenAI semantic conventions 0.1.0 (span ``gen_ai.client.inference``). Both are still marked as
in development for messaging and GenAI. A change of a name here is a change for everyone who has a
query on it: it belongs in the changelog.
"""

from typing import Final

CONVENTIONS: Final = "1.44.0"
"""The version of the semantic conventions; spans name it in their schema URL."""
SCHEMA_URL: Final = f"https://opentelemetry.io/schemas/{CONVENTIONS}"

INSTRUMENTATION: Final = "ai-orchestrator"
"""The name of the instrumentation scope."""

# Messaging. Span name: "{operation} {destination}".
CREATE: Final = "create"
SEND: Final = "send"
PROCESS: Final = "process"
MESSAGING_SYSTEM: Final = "messaging.system"
KAFKA: Final = "kafka"
OPERATION_NAME: Final = "messaging.operation.name"
OPERATION_TYPE: Final = "messaging.operation.type"
DESTINATION: Final = "messaging.destination.name"
PARTITION: Final = "messaging.destination.partition.id"
OFFSET: Final = "messaging.kafka.offset"
MESSAGE_COUNT: Final = "messaging.batch.message_count"

# RPC and HTTP. Span names: "{service}/{method}" and "{method} {route}".
RPC_SYSTEM: Final = "rpc.system.name"
GRPC: Final = "grpc"
RPC_METHOD: Final = "rpc.method"
RPC_STATUS: Final = "rpc.response.status_code"
HTTP_METHOD: Final = "http.request.method"
HTTP_ROUTE: Final = "http.route"
HTTP_STATUS: Final = "http.response.status_code"
PEER: Final = "service.peer.name"

# Databases. Span name: "{operation} {collection}".
DB_SYSTEM: Final = "db.system.name"
POSTGRES: Final = "postgresql"
DB_COLLECTION: Final = "db.collection.name"
DB_OPERATION: Final = "db.operation.name"

ERROR_TYPE: Final = "error.type"

# GenAI. The name of an inference span is "{gen_ai.operation.name} {gen_ai.request.model}".
GEN_AI_OPERATION: Final = "gen_ai.operation.name"
"""The method of the pipeline's step. The conventions name some operations and allow others, as here
only the service knows what its method does."""
GEN_AI_PROVIDER: Final = "gen_ai.provider.name"
"""The service that was called, as the pipeline names it."""
GEN_AI_CONVERSATION: Final = "gen_ai.conversation.id"
GEN_AI_REQUEST_MODEL: Final = "gen_ai.request.model"
GEN_AI_RESPONSE_MODEL: Final = "gen_ai.response.model"
GEN_AI_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
GEN_AI_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"

# Ours: no convention has a word for them.
TASK: Final = "orchestrator.task.id"
TENANT: Final = "orchestrator.tenant.id"
RUN: Final = "orchestrator.task.run"
STEP: Final = "orchestrator.step.name"
ATTEMPT: Final = "orchestrator.step.attempt"
LETTER: Final = "orchestrator.dead_letter.id"
COST_MICROS: Final = "orchestrator.usage.cost_micros"
"""Millionths of a US dollar."""
ESTIMATED: Final = "orchestrator.usage.estimated"
"""True if the service estimated the tokens."""
