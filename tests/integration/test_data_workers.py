"""Data workers live as long as their trial: no signal to all processes ends them before, and none outlives it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

TRIAL = """
import multiprocessing, sys, time
import torch
from torch.utils.data import IterableDataset
from studies.windows import load

class Numbers(IterableDataset):
    def __iter__(self):
        number = 0
        while True:
            number += 1
            time.sleep(0.01)
            yield torch.tensor(number)

if __name__ == "__main__":
    # As a trial: torch then starts threads in a data worker before anything of ours runs there.
    torch.set_num_threads(2)
    numbers = iter(load(Numbers(), 2))
    next(numbers)
    print(*[process.pid for process in multiprocessing.active_children()], flush=True)
    for line in sys.stdin:
        print(*[int(next(numbers)) for _ in range(10)], flush=True)
"""


@pytest.fixture
def trial(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    script = tmp_path / "trial.py"
    script.write_text(TRIAL)
    # The packages of this checkout, wherever the script stands.
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(script)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield process
        process.kill()


def read_line(process: "subprocess.Popen[str]") -> list[int]:
    assert process.stdout is not None
    return [int(word) for word in process.stdout.readline().split()]


def ask(process: "subprocess.Popen[str]") -> list[int]:
    assert process.stdin is not None
    process.stdin.write("more\n")
    process.stdin.flush()
    return read_line(process)


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_every_process_leaves_a_trial_its_data_workers(
    trial: "subprocess.Popen[str]", number: signal.Signals
) -> None:
    workers = read_line(trial)
    assert len(workers) == 2
    for pid in workers:
        os.kill(pid, number)
    assert len(ask(trial)) == len(ask(trial)) == 10
    assert all(map(runs, workers))


def test_no_data_worker_outlives_a_trial_that_is_killed(trial: "subprocess.Popen[str]") -> None:
    workers = read_line(trial)
    trial.kill()
    trial.wait()
    # Torch's own watch would take 5 seconds.
    until = time.monotonic() + 3
    while any(map(runs, workers)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(runs, workers))


def test_no_data_worker_outlives_a_trial_that_has_ended(trial: "subprocess.Popen[str]") -> None:
    workers = read_line(trial)
    assert trial.stdin is not None
    trial.stdin.close()
    assert trial.wait(30) == 0
    assert not any(map(runs, workers))
