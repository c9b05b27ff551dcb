"""Whether a process is still there, with and without the kernel's list of processes."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hpo import presence
from hpo.presence import is_dead, this_worker


def test_a_living_process_and_one_whose_id_was_used_again_are_told_apart() -> None:
    me = this_worker()
    assert not is_dead(me, 30)
    assert is_dead(replace(me, started=me.started + 1), 30)
    assert is_dead(replace(me, silent_seconds=31), 30)


def test_a_process_that_nobody_has_waited_for_is_dead() -> None:
    with subprocess.Popen(["true"], stdout=subprocess.PIPE) as ended:
        assert ended.stdout is not None
        ended.stdout.read()
        while Path(f"/proc/{ended.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            pass
        assert is_dead(replace(this_worker(), pid=ended.pid), 30)
    assert is_dead(replace(this_worker(), pid=ended.pid), 30)


def test_a_machine_without_the_kernels_list_is_asked_in_another_way(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(presence, "_PROCESSES", tmp_path)
    me = this_worker()
    assert not is_dead(me, 30)
    assert is_dead(replace(me, started=me.started + 1), 30)
