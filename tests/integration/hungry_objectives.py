"""Objectives that end near the memory limit of their process, each in its own way."""

import errno
import os
import signal
import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np


def fill(megabytes: int) -> list[Any]:
    """Take memory so slowly that a look at the process sees it."""
    taken = []
    for _ in range(megabytes):
        taken.append(np.ones(2**17))
        time.sleep(0.005)
    return taken


def killed_when_full(params: Mapping[str, Any], context: Any) -> float:
    taken = fill(95)
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)
    return float(len(taken))


def aborts_when_full(params: Mapping[str, Any], context: Any) -> float:
    taken = fill(95)
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGABRT)
    return float(len(taken))


def many_threads(params: Mapping[str, Any], context: Any) -> float:
    enough = threading.Event()
    threads = [threading.Thread(target=enough.wait) for _ in range(31)]
    for thread in threads:
        thread.start()
    enough.set()
    return float(len(threads))


def no_memory_to_fork(params: Mapping[str, Any], context: Any) -> float:
    raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


def waits(params: Mapping[str, Any], context: Any) -> float:
    time.sleep(60)
    return 0.5
