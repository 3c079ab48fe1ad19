"""The span of a call of a service, which is an inference span if the answer reports usage."""

from opentelemetry.trace import SpanKind
from opentelemetry.util.types import AttributeValue

from schemas.records import StepCommand, Usage
from streams import span_names as names
from streams.tracing import describe, rename, traced


def service_span(command: StepCommand) -> traced:
    """A span around the call of a command's service; the service gets it as its parent."""
    return traced(
        f"{command.service}/{command.method}",
        SpanKind.CLIENT,
        describe=lambda: {
            names.PEER: command.service,
            names.RPC_METHOD: command.method,
            names.TASK: command.task_id,
            names.STEP: command.step,
            names.ATTEMPT: command.attempt,
        },
    )


def describe_usage(call: traced, command: StepCommand, usage: Usage | None) -> None:
    """Make the span of a call an inference span, if a model answered it.

    Only the answer shows that a model was called: before that, the worker knows a service and a
    method. So the name follows at the end, and no span of its own is needed.
    """
    if usage is None:
        return
    if usage.model is not None:
        rename(call.span, f"{command.method} {usage.model}")
    describe(call.span, lambda: _attributes(command, usage))


def _attributes(command: StepCommand, usage: Usage) -> dict[str, AttributeValue]:
    found: dict[str, AttributeValue] = {
        names.GEN_AI_OPERATION: command.method,
        names.GEN_AI_PROVIDER: command.service,
        names.GEN_AI_INPUT_TOKENS: usage.input_tokens,
        names.GEN_AI_OUTPUT_TOKENS: usage.output_tokens,
        names.COST_MICROS: usage.cost_micros,
        names.ESTIMATED: usage.estimated,
    }
    if usage.model is not None:
        found[names.GEN_AI_REQUEST_MODEL] = usage.model
        found[names.GEN_AI_RESPONSE_MODEL] = usage.model
    if command.conversation_id is not None:
        found[names.GEN_AI_CONVERSATION] = command.conversation_id
    return found
