"""Who this process is, and whether another one is still there."""

import functools
import os
import socket
import uuid
from contextlib import suppress
from pathlib import Path

import psutil

from hpo.records import WorkerRecord

_PROCESSES = Path("/proc")


@functools.cache
def this_place() -> str:
    """Return host, boot and process namespace: two processes with equal places see each other's ids."""
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    boot_id = boot.read_text().strip() if boot.exists() else str(int(psutil.boot_time()))
    return f"{this_host()}/{boot_id}/{os.readlink(namespace) if namespace.exists() else 'host'}"


def this_host() -> str:
    """Return the name of this machine."""
    return socket.gethostname()


def this_worker() -> WorkerRecord:
    """Return a record of this process with a new worker id."""
    host, pid = this_host(), os.getpid()
    started = _started(pid)
    assert started is not None
    return WorkerRecord(f"{host}-{pid}-{uuid.uuid4().hex[:6]}", this_place(), host, pid, started, silent_seconds=0.0)


def is_dead(worker: WorkerRecord, lost_after_seconds: float) -> bool:
    """Return whether a worker is gone: its process, seen from the same machine, or its beat, from another."""
    if worker.silent_seconds > lost_after_seconds:
        return True
    return worker.place == this_place() and _started(worker.pid) != worker.started


def _started(pid: int) -> float | None:
    """Return when a living process started, on a clock that nobody sets; None when there is none."""
    try:
        # Ticks since boot. psutil adds the time of the boot, which moves whenever the machine's clock is set: then
        # every worker of the machine would seem to be another process. See proc(5); the name may hold blanks.
        # Opened by its name: 63 other workers are looked at for a claim, and a path made of parts takes 60 µs more.
        with open(f"{_PROCESSES}/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None if (_PROCESSES / "self" / "stat").exists() else _started_without_proc(pid)
    state, ticks = fields[0], fields[19]
    return None if state in "ZX" else float(ticks)


def _started_without_proc(pid: int) -> float | None:
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    return None
