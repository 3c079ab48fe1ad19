"""What a process exports, by its settings; each test has a process of its own: a tracer provider
can be set once."""

import socket
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import suppress

import pytest

from streams.traceparent import is_sampled
from tests.traces.receiver import Receiver, named

TRACE_ID, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE_ID}-{CALLER}-01", f"00-{TRACE_ID}-{CALLER}-00"
pytestmark = pytest.mark.slow

PROGRAM = """
import sys
from opentelemetry.trace import SpanKind
from orchestrator.traces import TracesSettings, exported_traces
from schemas.errors import OrchestratorError
from streams.tracing import RecordSpan, consumer_span, exemplar, trace_headers, traced
endpoint, ratio, traceparent = sys.argv[1:]
headers = [("traceparent", traceparent.encode())] if traceparent else []
with exported_traces(TracesSettings(endpoint=endpoint, sample_ratio=float(ratio)), role="router"):
"""
WORK = """
with consumer_span(headers, "steps", 0, 7):
    print(trace_headers()["traceparent"], exemplar())
    with traced("a call that succeeds", SpanKind.CLIENT):
        pass
"""
FAILING_WORK = """
try:
    with consumer_span(headers, "steps", 0, 7, lambda: {"a": "b"}):
        with traced("a call that succeeds", SpanKind.CLIENT):
            pass
        with traced("a call that fails", SpanKind.CLIENT):
            print(trace_headers()["traceparent"])
            raise OrchestratorError("private words")
except OrchestratorError:
    pass
"""


def run(endpoint: str, ratio: float, traceparent: str, work: str) -> list[str]:
    """Run a program; return the words that it prints."""
    program = PROGRAM + textwrap.indent(work, "    ")
    arguments = [sys.executable, "-c", program, endpoint, str(ratio), traceparent]
    ran = subprocess.run(arguments, timeout=60, check=True, stdout=subprocess.PIPE, text=True)
    return ran.stdout.split()


def test_a_span_continues_the_trace_of_its_record_and_is_exported(receiver: Receiver) -> None:
    run(receiver.endpoint, 1.0, SAMPLED, WORK)

    [span] = named(receiver.spans, "process steps")
    assert (span.trace_id, span.parent) == (TRACE_ID, CALLER)
    assert span.process == "ai-orchestrator-router"
    assert (span["messaging.destination.name"], span["messaging.kafka.offset"]) == ("steps", 7)


def test_a_trace_that_is_sampled_upstream_is_followed_whatever_the_ratio(
    receiver: Receiver,
) -> None:
    _, *exemplar = run(receiver.endpoint, 0.0, SAMPLED, WORK)

    assert len(receiver.spans) == 2
    assert exemplar == ["{'trace_id':", f"'{TRACE_ID}'}}"]


def test_a_trace_that_is_not_sampled_upstream_is_not_exported(receiver: Receiver) -> None:
    carried, exemplar = run(receiver.endpoint, 1.0, UNSAMPLED, WORK)

    assert receiver.spans == []
    assert exemplar == "None"
    assert (carried.split("-")[1], carried.split("-")[3]) == (TRACE_ID, "00")


def test_a_trace_that_begins_here_is_decided_once_for_all_that_follows(
    receiver: Receiver,
) -> None:
    carried, _ = run(receiver.endpoint, 0.0, "", WORK)

    assert receiver.spans == []
    assert not is_sampled({"traceparent": carried})


def test_spans_that_fail_are_exported_from_a_trace_that_is_not_sampled(
    receiver: Receiver,
) -> None:
    [carried] = run(receiver.endpoint, 0.0, UNSAMPLED, FAILING_WORK)

    work, call = sorted(receiver.spans, key=lambda span: span.name, reverse=True)
    assert (work.name, call.name) == ("process steps", "a call that fails")
    assert (work.parent, call.parent) == (CALLER, work.id)
    assert {work.trace_id, call.trace_id} == {TRACE_ID}
    assert carried == UNSAMPLED
    assert work.failed
    assert call.failed
    assert (work["a"], call["error.type"]) == ("b", "INTERNAL")
    assert work.span.start_time_unix_nano <= call.span.start_time_unix_nano
    assert call.span.end_time_unix_nano <= work.span.end_time_unix_nano
    assert "private words" not in str(receiver.spans)


def test_a_refused_record_of_an_unsampled_trace_has_its_span(receiver: Receiver) -> None:
    work = """
        span = RecordSpan(headers, "task-created", 1, 9)
        assert span.headers == {"traceparent": traceparent}
        span.fail("DECODE_FAILED")
        span.end()
    """
    run(receiver.endpoint, 0.0, UNSAMPLED, textwrap.dedent(work))

    [span] = receiver.spans
    assert (span.name, span.parent) == ("process task-created", CALLER)
    assert (span.failed, span["error.type"]) == (True, "DECODE_FAILED")


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_a_cancellation_is_no_failure(receiver: Receiver, ratio: float) -> None:
    work = """
        import asyncio
        try:
            with consumer_span(headers, "steps", 0, 7):
                raise asyncio.CancelledError
        except asyncio.CancelledError:
            pass
    """
    run(receiver.endpoint, ratio, "", textwrap.dedent(work))

    assert len(receiver.spans) == ratio
    assert not any(span.failed for span in receiver.spans)


def test_a_trace_that_is_linked_to_a_sampled_one_is_sampled(receiver: Receiver) -> None:
    work = """
        from streams.tracing import creation_headers, links_to
        creation_headers("a-topic", {}, links_to(headers))
        unsampled = [("traceparent", traceparent[:-1].encode() + b"0")]
        creation_headers("another-topic", {}, links_to(unsampled))
    """
    run(receiver.endpoint, 0.0, SAMPLED, textwrap.dedent(work))

    [span] = receiver.spans
    assert (span.name, span.links) == ("create a-topic", [(TRACE_ID, CALLER)])
    assert span.trace_id != TRACE_ID


def test_a_receiver_that_is_down_costs_spans_and_nothing_else() -> None:
    began_s = time.monotonic()
    carried, _exemplar, *_ = run("http://127.0.0.1:9", 1.0, SAMPLED, WORK)

    assert carried.split("-")[1] == TRACE_ID
    assert time.monotonic() - began_s < 20


def test_a_receiver_whose_answer_does_not_end_does_not_keep_a_process_from_its_end() -> None:
    listening = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        with suppress(OSError):
            connection, _ = listening.accept()
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            while connection.send(b" "):
                time.sleep(0.5)

    threading.Thread(target=answer, daemon=True).start()
    began_s = time.monotonic()
    run(f"http://127.0.0.1:{listening.getsockname()[1]}", 1.0, SAMPLED, WORK)
    took_s = time.monotonic() - began_s
    listening.close()

    assert took_s < 20
