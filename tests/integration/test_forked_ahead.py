"""A worker by itself: for which trials it has the process made ahead."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import hpo.worker
from hpo import control_schema
from hpo.control import Control
from hpo.fork_server import Fork, ForkServer, spare_fork
from hpo.phase1 import ensure_study
from hpo.settings import Settings
from hpo.stopping import StopSignals
from hpo.storage import open_storage
from hpo.worker import WorkerOptions, run_worker
from studies.declaration import Prepared, architecture_values
from studies.spec import Spec

HERE = Path(__file__).parent
CAP = 4


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ForkServer]:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parents[1])]))
    with ForkServer(("studies.objective", "hpo.trial")) as running:
        running.wait_until_ready()
        yield running


def test_the_process_of_every_trial_but_the_first_is_made_ahead_and_none_in_vain(
    server: ForkServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def ahead(address: str) -> Fork:
        made.append(spare_fork(address))
        return made[-1]

    monkeypatch.setattr(hpo.worker, "spare_fork", ahead)
    given = {"name": "s", "objective": "pruning_objectives:asks_nobody", "budgets": ["750k"], "trials": CAP}
    spec, settings = Spec.model_validate({**given, "forced_extremes": False}), Settings(home=home)
    with open_storage(settings) as storage:
        control_schema.migrate(storage.engine)
        ensure_study(storage, spec, Prepared(architecture_values(spec)))
        run_worker(WorkerOptions(None, server.address, ("s",), prepared=True, until_done=True), settings, StopSignals())
        assert Control(storage.engine).counts("s").complete == CAP
    # Every one of them has run a trial.
    assert [each.exit_code for each in made] == [0] * (CAP - 1)
