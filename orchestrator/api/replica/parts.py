"""The parts that all use cases of a process share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.api.limits.tenants import TenantLimits
from orchestrator.api.replica.follower import ReplicaFollower
from orchestrator.api.replica.live_tasks import LiveTasks
from orchestrator.api.replica.log_scan import LogScan
from orchestrator.api.replica.producer import TaskProducer
from orchestrator.api.replica.projection import Projection
from orchestrator.api.settings import ApiSettings
from orchestrator.settings import Settings
from schemas.records import Millis
from schemas.topics import Topics
from tasks.decision import Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The connections of the use cases to the outside."""

    settings: ApiSettings
    system: Settings
    """The settings of all parts of the system, for work on dead letters."""
    topics: Topics
    rules: Rules
    live: LiveTasks
    follower: ReplicaFollower
    projection: Projection
    log_scan: LogScan
    producer: TaskProducer
    tenants: TenantLimits
    clock: Callable[[], Millis]
    entropy: Callable[[int], bytes]
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process is asked to stop: it reports that it is not ready, and still serves."""
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process ends: waits and streams end, and callers continue at another replica."""
