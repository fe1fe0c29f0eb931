"""The workers of a service on one socket: begun, told what the service is told, begun anew where one crashes."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from prometheus_client import multiprocess

from digitjax.base import device
from digitjax.base.errors import DigitjaxError
from serve.settings import Settings


def listen(settings: Settings) -> socket.socket:
    """A bound socket.

    Raises:
      DigitjaxError: the address cannot be had.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise DigitjaxError(
            f"cannot listen on {settings.host}:{settings.port} ({error.strerror}): set DIGITJAX_HOST or DIGITJAX_PORT"
        ) from error
    return listener


def supervise(settings: Settings, listener: socket.socket) -> int:
    """Runs the workers on one socket, passes signals on to them, and starts one anew that has crashed."""
    children: dict[int, int] = {}
    begun: dict[int, float] = {}
    deaths: dict[int, int] = {}
    status, stopping = 0, False

    def begin(place: int) -> None:
        command = [sys.executable, "-m", "serve", "worker", str(listener.fileno()), str(place)]
        child = subprocess.Popen(command, pass_fds=[listener.fileno()])
        children[child.pid], begun[place] = place, time.monotonic()

    def tell_all(number: int, _frame: object = None) -> None:
        nonlocal stopping
        stopping |= number != signal.SIGHUP
        for pid in [*children]:
            os.kill(pid, number)

    for left in Path(tempfile.gettempdir()).glob("digitjax-metrics-*-*"):  # by one that was killed
        if not Path(f"/proc/{left.name.split('-')[2]}").exists():
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"digitjax-metrics-{os.getpid()}-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, tell_all)
        for place in range(settings.workers):
            begin(place)
        while children:
            pid, ended = os.wait()
            place, code = children.pop(pid), os.waitstatus_to_exitcode(ended)
            multiprocess.mark_process_dead(pid)
            if code < 0 and not stopping:
                # One that dies again and again must not take the others' time.
                deaths[place] = deaths.get(place, 0) + 1 if time.monotonic() - begun[place] < 60 else 0
                time.sleep(min(0.1 * 2 ** deaths[place], 10) if deaths[place] else 0)
                if not stopping:
                    begin(place)
            elif code > 0:
                status = code
                tell_all(signal.SIGTERM)
    return status


def prepare(place: int, workers: int) -> None:
    """Gives this worker its share of the cores and of a GPU, and an end when its supervisor ends; before JAX starts."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[place % len(cores) :: workers])
    device.share_memory(workers)
