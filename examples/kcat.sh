#!/bin/sh
# Look into topics with kcat. What a reader needs to route is in the headers: nothing is decoded.
set -eu
# A variable, or else its value in the system of `make run`.
variable() { python3 "$(dirname "$0")/running.py" "$@"; }
BOOTSTRAP=$(variable ORCH_KAFKA_BOOTSTRAP)
PREFIX=$(variable ORCH_TOPICS_PREFIX orchestrator.)
read_all() { kcat -b "$BOOTSTRAP" -C -t "$1" -o beginning -e -q -f "$2"; }
header() { tr ',' '\n' | sed -n "s/^$1=//p"; }

# 1. Position, task and headers of each record of the log; task-events of former owners included.
read_all "${PREFIX}task-events.v1" '%p/%o\t%k\t%h\n'

# 2. How many records of each type.
read_all "${PREFIX}task-events.v1" '%h\n' | header ce_type | sort | uniq -c

# 3. Dead letters of new tasks by code.
read_all "dlq.${PREFIX}task-created.v1" '%h\n' | header __dlq.errors.code | sort | uniq -c
