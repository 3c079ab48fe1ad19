"""What each RPC needs of its caller, by the name of its method. No name is in two services."""

from collections.abc import Mapping

from orchestrator.api.access.rights import READ, READ_LETTERS, WRITE, WRITE_LETTERS, Need

NEEDS: Mapping[str, Need] = {
    "CreateTask": WRITE,
    "ExecuteTask": WRITE,
    "GetTask": READ,
    "ExplainTask": READ,
    "CancelTask": WRITE,
    "CreateAndExecuteTask": WRITE,
    "ListTasks": READ,
    "BatchCreateTasks": WRITE,
    "ExecutePendingTasks": WRITE,
    "SetTaskPriority": WRITE,
    "RetryTask": WRITE,
    "WatchTask": READ,
    "WaitTask": READ,
    "ListTaskLogs": READ,
    "GetUsage": READ,
    "ListDeadLetters": READ_LETTERS,
    "GetDeadLetter": READ_LETTERS,
    "GetDeadLetterStats": READ_LETTERS,
    "ReplayDeadLetters": WRITE_LETTERS,
    "EditDeadLetter": WRITE_LETTERS,
    "DiscardDeadLetter": WRITE_LETTERS,
}
