"""Every error a user can meet, each with its exit code and a sentence that says what to do.

Knows nothing of the rest of fbcli; everything may import it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from enum import IntEnum


class ExitCode(IntEnum):
    """What `fb` leaves behind for the shell. `fb check` alone uses 0 to 3 as monitoring plugins
    do."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    UNREACHABLE = 4
    UNSUPPORTED = 5
    REFUSED = 6
    TIMED_OUT = 7
    PARTLY = 8
    INTERRUPTED = 130
    TERMINATED = 143


class FbError(Exception):
    """Base of all errors that fbcli raises on purpose. `str(error)` is one sentence for a
    person."""

    exit_code = ExitCode.FAILED


class UsageError(FbError):
    """The caller gave something that cannot be used: an argument, an option, a setting, a file."""

    exit_code = ExitCode.USAGE


class BadArguments(UsageError):
    """Arguments that the function does not accept: missing, unknown, or not convertible."""


class BadMessage(UsageError):
    """Bytes that are not a message: not JSON, not an object, too large, nested too deeply."""


class BadSetting(UsageError):
    """A setting in `fb.toml`, `[tool.fb]`, an `FB_…` variable or a decorator that cannot be
    used."""


class AddressNotFound(FbError):
    """No such module or function, or importing it failed."""

    exit_code = ExitCode.NOT_FOUND


class TaskNotFound(FbError):
    """No message with that task id is where it was looked for."""

    exit_code = ExitCode.NOT_FOUND


class PartlyDone(FbError):
    """Some of what was asked for was done, some was not; the text says how much."""

    exit_code = ExitCode.PARTLY


class Unavailable(FbError):
    """A broker or store cannot be reached, or refuses to work (full disk, read-only file, out of
    memory).

    Consumers retry on it for ever, with backoff; publishers fail at once.
    """

    exit_code = ExitCode.UNREACHABLE


class PartlyPublished(Unavailable):
    """Of a batch, some messages got in, and of the others nobody knows. What is published again
    then are those others."""

    def __init__(self, message: str, accepted: Sequence[int]) -> None:
        super().__init__(message)
        self.accepted = accepted
        """The places in the batch of those that are known to have got in, rising."""


class Unsupported(FbError):
    """The broker (or platform) lacks the ability that was asked for."""

    exit_code = ExitCode.UNSUPPORTED


class Refused(FbError):
    """A destructive command without its confirmation."""

    exit_code = ExitCode.REFUSED


class TimedOut(FbError):
    """Waited as long as was asked; what was waited for did not happen."""

    exit_code = ExitCode.TIMED_OUT


class MissingLibrary(Unsupported):
    """An optional client library is not installed."""


class TaskFailed(FbError):
    """A task ended in failure, or was dropped or cancelled. `error_type`, `error` and `traceback`
    are the remote error's own."""

    def __init__(
        self,
        message: str,
        *,
        error_type: str = "",
        error: str = "",
        traceback: str = "",
        task_id: str = "",
        state: str = "failed",
    ) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.error = error
        self.traceback = traceback
        self.task_id = task_id
        self.state = state
        """How it ended: failed, dropped or cancelled."""


class RemoteTraceback(Exception):
    """The cause of a `TaskFailed`: so that Python shows the traceback of where the task ran above
    that of who waited for it."""

    def __str__(self) -> str:
        return f"\n{super().__str__()}"


class WorkerLost(Exception):
    """The attempt's child process has ended in the middle of the call: killed, crashed, or by its
    own exit. It counts as an attempt."""


class RemoteError(Exception):
    """What a function has raised in a child process, as the child tells of it; the error itself
    stays there."""

    def __init__(
        self, text: str, *, error_type: str, lineage: tuple[str, ...] = (), traceback: str = ""
    ) -> None:
        super().__init__(text)
        self.error_type = error_type
        """The name of its class."""
        self.lineage = lineage
        """Its class and the bases of that, as `module.name`."""
        self.traceback = traceback
        """The last lines."""


class TaskTimeout(Exception):
    """Raised inside a task that ran longer than its `timeout`. Not an `FbError`: the task's own
    code sees it."""


class TaskCancelled(Exception):
    """Raised inside a running task that somebody has cancelled (`fb cancel`, `AsyncResult.cancel`).
    It is not tried again.

    Not an `FbError`: the task's own code sees it, may tidy up, and lets it pass.
    """


class Retry(Exception):
    """Raise it in a function to have the task tried again.

    `after` is the wait in seconds (default: the task's own backoff). It counts as an attempt.
    """

    def __init__(self, reason: str = "", *, after: float | None = None) -> None:
        super().__init__(reason or "the function asked for a retry")
        self.after = after


class Requeue(Exception):
    """Raise it in a function to put the message back into its queue. It does not count as an
    attempt.

    `after` is the wait in seconds before it may be delivered again.
    """

    def __init__(self, reason: str = "", *, after: float = 0.0) -> None:
        super().__init__(reason or "the function asked to be requeued")
        self.after = after


class DeadLetter(Exception):
    """Raise it in a function to send the message to the dead letters at once, with `reason`."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the function sent it to the dead letters")


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Return `" Did you mean 'x'?"`, or an empty text when nothing is close to `name`."""
    close = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""
