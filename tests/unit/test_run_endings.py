"""What `hpo run` and `hpo phase2` say at their end, and how a table of Phase 2 looks."""

import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from hpo.cli_run import _conclude
from hpo.records import Origin, TrialRecord, TrialState
from hpo.run_view import results_table
from hpo.status_view import trial_name


def result(**values: Any) -> Any:
    study = SimpleNamespace(name="s", state=SimpleNamespace(value="running"))
    status = SimpleNamespace(study=study, counts=SimpleNamespace(complete=1))
    return SimpleNamespace(**{"status": status, "interrupted": False, "fault": "", **values})


def test_an_interruption_of_two_studies_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert _conclude([result(interrupted=True), result(interrupted=True)]) == 130
    assert capsys.readouterr().err.count("interrupted;") == 1


def test_a_worker_that_ended_early_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert _conclude([result(fault="killed"), result(fault="killed")]) == 1
    assert capsys.readouterr().err.count("a worker ended early: killed") == 1


def trial(number: int, design: str | None, heads: int, batch: int) -> TrialRecord:
    params = {
        "n_heads_log2": heads.bit_length() - 1,
        "effective_batch_log2": batch.bit_length() - 1,
        "learning_rate": 0.00074123,
        "weight_decay": 0.0534,
    }
    attributes = {"n_heads": heads, "effective_batch": batch, "auc_low": 0.698, "auc_high": 0.78, "dropout": 0.5}
    return TrialRecord(
        number=number,
        slot=number,
        turn=1,
        attempt=1,
        origin=Origin.FORCED if design else Origin.SAMPLED,
        params=params,
        seed=1,
        state=TrialState.COMPLETE,
        design_id=design,
        score=0.7 - number / 100,
        attributes={**attributes, "collapsed": True} | ({"design": design} if design else {}),
        seconds=1234.0,
    )


def test_the_table_of_phase_2_shows_heads_and_batch_in_80_columns() -> None:
    trials = [
        trial(10, "learning_rate=5e-06", 16, 256),
        trial(11, "effective_batch=256", 4, 256),
        trial(12, None, 8, 32),
    ]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(results_table(trials, "maximize"))
    head, first, second, third = (line.split() for line in console.export_text().splitlines())
    assert head == ["#", "configuration", "score", "95", "%", "heads", "batch", "lr", "decay", "s"]
    assert first[1:] == ["lr=5e-06*", "0.6000", "0.698–0.780", "16", "256", "0.00074", "0.053", "1234"]
    assert (second[1], third[1]) == ("batch=256*", "sampled*")


def test_the_name_of_a_corner_shows_its_heads_and_batch() -> None:
    assert trial_name(trial(0, "learning_rate=5e-06", 16, 256)) == "learning_rate=5e-06, heads 16 batch 256"
    assert trial_name(trial(0, None, 8, 32)) == "heads 8 batch 32"
