"""What `hpo run` and `hpo phase2` say at their end, and how a table of Phase 2 looks."""

import io
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from hpo.cli_run import _conclude
from hpo.monitor import Status
from hpo.noise import SeedNoise
from hpo.records import Counts, Origin, StudyRecord, StudyState, TrialRecord, TrialState
from hpo.run_view import print_results, results_table
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


@pytest.mark.parametrize(("second", "where"), [(0.69, "below"), (0.5, "above")])
def test_the_lead_of_the_best_is_compared_with_the_noise_by_means_over_seeds(
    capsys: pytest.CaptureFixture[str], second: float, where: str
) -> None:
    first, other = replace(trial(0, None, 4, 64), score=0.70), replace(trial(2, None, 8, 64), score=second)
    again = replace(first, number=1, origin=Origin.REPEAT, seed=2, score=0.72, design_id=None)
    again = replace(again, attributes={**again.attributes, "design": "repeat of trial 0"})
    noise = SeedNoise(0.01, 4, 2)
    study = StudyRecord("s", 2, {"direction": "maximize"}, "", {}, 3, StudyState.FINISHED, "", {}, True)
    status = Status(study, Counts(3, 0, 0, 0, 0, 0, 3), again, (), None, 0.0, (), (), (), noise, (0.70, 0.72))
    print_results(status, [first, again, other], "score", next_steps=[])
    said = capsys.readouterr().out
    # t of 4 degrees of freedom at 95 %, times 0.01 times the root of 1/2 + 1/1.
    assert f"leads by {0.71 - second:.2g} (2 seeds against 1): {where} the noise of up to 0.034" in " ".join(
        said.split()
    )
    assert "trial 1, repeat of trial 0, heads 4 batch 64, mean 0.7100 of 2 seeds" in " ".join(said.split())
    assert "noise between seeds: 0.01 (2 configurations, 4 repeats)" in said
    assert "repeat of trial 0" in said.splitlines()[3]


def test_where_no_seed_was_repeated_nothing_is_said_of_noise(capsys: pytest.CaptureFixture[str]) -> None:
    best, other = trial(0, None, 4, 64), trial(2, None, 8, 64)
    study = StudyRecord("s", 2, {"direction": "maximize"}, "", {}, 3, StudyState.FINISHED, "", {}, True)
    status = Status(study, Counts(2, 0, 0, 0, 0, 0, 3), best, (), None, 0.0, (), ())
    print_results(status, [best, other], "score", next_steps=[])
    said = capsys.readouterr().out
    assert "noise" not in said
    assert "seed" not in said
