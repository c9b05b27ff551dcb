"""The memory of a worker, as its beats say it."""

import mmap
from pathlib import Path

import pytest

from hpo import vitals
from hpo.vitals import OwnMemory, process_memory, read_vitals

_MIB = 2**20


def test_memory_is_not_counted_again_while_nothing_has_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []

    def count(pid: int) -> tuple[float, float]:
        counted.append(pid)
        return process_memory(pid)

    monkeypatch.setattr(vitals, "process_memory", count)
    memory = OwnMemory(3600)
    first = memory.read()
    assert first[0] > 1
    assert memory.is_new
    assert [memory.read() for _ in range(5)] == [first] * 5
    assert not memory.is_new
    assert len(counted) == 1


def test_memory_is_counted_again_when_the_count_is_old() -> None:
    memory = OwnMemory(0.0)
    for _ in range(2):
        memory.read()
        assert memory.is_new


def test_memory_that_was_taken_stands_in_the_next_beat(tmp_path: Path) -> None:
    memory = OwnMemory(3600)
    before = read_vitals(tmp_path, memory, None)
    # Pages of its own: what the C library gives may be memory that a test before has left.
    with mmap.mmap(-1, 30 * _MIB) as taken:
        taken.write(b"1" * (30 * _MIB))
        after = read_vitals(tmp_path, memory, None)
    assert 28 < after["own_memory_mb"] - before["own_memory_mb"] < 60
