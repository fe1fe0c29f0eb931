"""Several processes, on one host or many, as one training: joining, agreeing, and a plain line when one is lost."""

import contextlib
import ctypes
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from digitjax.base.errors import DigitjaxError, UsageError

LOST_SECONDS = 20
"""A process without a sign of life for so long counts as lost, and the others end."""
_WATCHED = "_DIGITJAX_WATCHED_BY"
_LOST = (
    "another process of this training has ended or cannot be reached (its own last line says why): "
    "start all of them again with the same command, and they go on from the last checkpoint"
)


def watch(words: Sequence[str], coordinator: str, timeout: int, tell: Callable[[str], None]) -> int:
    """Runs `digitjax` with these words in a process below this one and returns its exit status.

    XLA ends a process whose peer is lost from within, with a stack trace: only another process can say it plainly.
    """
    command = [sys.executable, "-m", "digitjax", *words]
    settings = os.environ | {_WATCHED: str(os.getpid())}
    failing, unregistered, told = False, False, False
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=settings, start_new_session=True) as process:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: process.send_signal(number))
        assert process.stderr is not None
        for line in process.stderr:
            from_xla = bool(re.match(r"[WEF]\d{4} |\[Gloo\]", line))
            failing |= from_xla and line[0] in "EF"
            unregistered |= "RegisterTask" in line
            ours = line.startswith(("digitjax:", "interrupted:"))
            told |= ours
            if "--debug" in words or ours or not (failing or from_xla):
                tell(line.rstrip("\n"))
    status = process.returncode
    if status == -signal.SIGABRT and not told:
        where = f" at {coordinator}" if coordinator else ""
        incomplete = (
            f"not all processes of this training met{where} within {timeout} s: see that process 0 runs there, "
            "and that as many were started as --num-processes says, each with a --process-id of its own"
        )
        tell(f"digitjax: {incomplete if unregistered else _LOST}")
    return status if status >= 0 else 1 if status == -signal.SIGABRT else 128 - status


def is_watched() -> bool:
    """Whether this process is the one that `watch` started; it then ends with its parent."""
    if os.environ.get(_WATCHED) != str(os.getppid()):
        return False
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    return True


def join(coordinator: str, process_id: int | None, num_processes: int | None, timeout: int) -> None:
    """Joins the other processes through `jax.distributed`, before JAX starts.

    Args:
      coordinator: HOST:PORT of process 0; '' to ask Slurm, MPI or Kubernetes, for the other two as well.
      timeout: seconds in which all must be there.

    Raises:
      UsageError: the numbers do not fit each other, or no cluster is found to ask.
    """
    if coordinator and not re.fullmatch(r".+:\d+", coordinator):
        raise UsageError(f"--coordinator is {coordinator!r}: give HOST:PORT of process 0, such as 10.0.0.1:8476")
    if process_id is not None and num_processes is not None and not 0 <= process_id < num_processes:
        raise UsageError(f"--process-id is {process_id} of {num_processes} processes: number them from 0")
    import jax
    from jax.extend import backend

    # A model that `--from` names was read by a JAX that knew of no others.
    backend.clear_backends()
    # Gloo tells its connections on stdout, which is for answers: they get a descriptor of their own.
    sys.stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with contextlib.suppress(AttributeError, OSError):
        # Gloo's thread spins while a sender holds its lock: were it run at once where the sender was, both would stand
        # still for a slice of time. As batch work, what is woken waits for its turn.
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    try:
        jax.distributed.initialize(
            coordinator or None,
            num_processes,
            process_id,
            initialization_timeout=timeout,
            heartbeat_timeout_seconds=LOST_SECONDS,
        )
    except ValueError as error:
        given = "--coordinator HOST:PORT, --process-id and --num-processes"
        raise UsageError(f"no Slurm, MPI or Kubernetes is found that says who takes part: give {given}") from error
    if num_processes not in (None, jax.process_count()):
        count = jax.process_count()
        raise UsageError(f"--num-processes is {num_processes}, but process 0 expects {count}: start all alike")


def is_first() -> bool:
    """Whether this process is the one that tells, and writes the run folder."""
    import jax

    return jax.process_index() == 0


def agree(value: Any) -> Any:
    """What the first process holds, in all of them; `value` is of what JSON can say."""
    import numpy as np
    from jax.experimental.multihost_utils import broadcast_one_to_all

    content = json.dumps(value).encode()
    size = int(broadcast_one_to_all(np.int32(len(content))))
    return json.loads(broadcast_one_to_all(np.frombuffer(content[:size].ljust(size), np.uint8)).tobytes())


def require_same(what: str, value: str) -> None:
    """Refuses to go on where the processes hold different values.

    Raises:
      UsageError: in all of them.
    """
    import numpy as np
    from jax.experimental.multihost_utils import process_allgather

    digest = np.frombuffer(hashlib.sha256(value.encode()).digest(), np.uint8)
    every = process_allgather(digest).reshape(-1, len(digest))
    others = np.flatnonzero((every != every[0]).any(1))
    if len(others):
        raise UsageError(f"process {others[0]} has other {what} than process 0: start all with the same ones")


def is_loss(error: BaseException) -> bool:
    """Whether an error tells of a lost peer."""
    return bool(re.search("Gloo|NCCL|coordination service", str(error)))


def lost() -> DigitjaxError:
    return DigitjaxError(_LOST)
