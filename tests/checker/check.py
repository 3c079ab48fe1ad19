"""The checker: an independent judge of what a system left in Kafka and Postgres.

It imports no product code: only the schema files, fastavro, aiokafka and asyncpg. Its rules
are those of the design, in its own words; a violation has a code and a place.
"""

from tests.checker.effects import check_commands, check_ends
from tests.checker.evidence import Evidence
from tests.checker.history import check_histories
from tests.checker.inputs import check_inputs, check_workers
from tests.checker.letters import Letters, check_letters
from tests.checker.log import Log, read_log
from tests.checker.outcomes import check_outcomes
from tests.checker.rows import check_rows
from tests.checker.settled import Settled
from tests.checker.snapshots import check_snapshots
from tests.checker.verdict import Findings, Verdict
from tests.checker.wire import decode


def check(evidence: Evidence, *, quiet: bool = False) -> Verdict:
    """Judge the evidence.

    Args:
        evidence: what was read, in whatever moment.
        quiet: nothing was under way when it was read: every task had ended or was held, and
            the sink had caught up. Then effects of the last events are demanded, too.
    """
    findings = Findings()
    log = read_log(evidence, findings)
    letters = Letters(evidence)
    settled = Settled(evidence, log, quiet=quiet)
    check_histories(evidence, log, findings)
    check_inputs(evidence, log, letters, findings)
    check_workers(evidence, letters, findings)
    check_outcomes(evidence, log, findings)
    check_commands(evidence, log, settled, findings)
    check_ends(evidence, log, letters, settled, findings)
    check_letters(evidence, letters, findings)
    check_snapshots(evidence, log, findings)
    check_rows(evidence, log, letters, findings, quiet=quiet)
    _check_unreadable_events(evidence, letters, findings)
    findings.statistics.refused_commands = sum(
        logged.kind == "command_refused" for logged in log.events()
    )
    return Verdict(tuple(findings.violations), findings.statistics)


def events_of(evidence: Evidence) -> Log:
    """The accepted events alone."""
    return read_log(evidence, Findings())


def _check_unreadable_events(evidence: Evidence, letters: Letters, findings: Findings) -> None:
    """What nobody can read in the log is dead-lettered before the sink moves past it."""
    if evidence.tables is None:
        return
    positions = {row["log_partition"]: row["next_offset"] for row in evidence.tables.sink_offsets}
    for record in evidence.all_of("task-events"):
        passed = record.offset < positions.get(record.partition, 0)
        unreadable = decode(record.value, "TaskEvent") is None
        if passed and unreadable and not letters.of(record.position, "sink"):
            findings.add("UNREADABLE_NOT_DEAD_LETTERED", record.position, "no dead letter")
