"""Who this process is, and whether another one is still there."""

import functools
import os
import socket
import uuid
from pathlib import Path

import psutil

from hpo.records import WorkerRecord

# The clocks of two processes on one machine agree; what differs is rounding.
_SAME_START_SECONDS = 1.0


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
    host, process = this_host(), psutil.Process()
    worker = f"{host}-{process.pid}-{uuid.uuid4().hex[:6]}"
    return WorkerRecord(worker, this_place(), host, process.pid, process.create_time(), silent_seconds=0.0)


def is_dead(worker: WorkerRecord, lost_after_seconds: float) -> bool:
    """Return whether a worker is gone: its process, seen from the same machine, or its beat, from another."""
    if worker.silent_seconds > lost_after_seconds:
        return True
    return worker.place == this_place() and not _runs(worker.pid, worker.started)


def _runs(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < _SAME_START_SECONDS
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
