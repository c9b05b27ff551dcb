"""From a search to probabilities for new rows, through the commands."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command import Command

from studies.data.examples import load_example

SPEC = """
name: tiny
data: {example: indices, tier: a20}
budgets: [750k]
trials: 2
training: {max_steps: 4, window: 20, effective_batch: 8, check_every: 2}
"""
FIRST = "2018-12-10"


@pytest.fixture
def prices(tmp_path: Path) -> str:
    path = tmp_path / "prices.csv"
    load_example("indices").frame.to_csv(path, index=False)
    return str(path)


def predict(hpo: Command, *arguments: str) -> str:
    command = [sys.executable, "-m", "studies.predict", *arguments]
    found = subprocess.run(
        command, cwd=hpo.directory, env=hpo.environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def predicted(text: str) -> dict[tuple[str, str], float]:
    return {(row["ds"], row["unique_id"]): float(row["probability"]) for row in csv.DictReader(io.StringIO(text))}


def replayed(found: dict[str, Any]) -> dict[tuple[str, str], float]:
    return {(bar["ds"], name): value for bar in found["predictions"] for name, value in bar["probabilities"].items()}


def test_a_search_becomes_an_ensemble_that_predicts_and_replays_the_same_bits(hpo: Command, prices: str) -> None:
    ended = hpo.run("run", hpo.write("tiny.yaml", SPEC), "--workers", "1")
    assert ended.code == 0, ended.err
    made = hpo.json("ensemble", "tiny", "--top-n", "2", "--out", "best")
    assert (made["missing"], len(made["selections"]["top"]["picks"])) == ([], 2)
    assert made["agreement"]["largest_difference"] < 1e-3

    batch = predicted(predict(hpo, "best", prices, "--from", FIRST))
    replay = hpo.json("replay", "best", prices, "--from", FIRST)
    assert len(batch) == 2 * replay["ensembles"][0]["bars"] > 20
    assert replayed(replay) == batch

    # The weights of the best are gone from this machine: they are trained again, and give the same ensemble.
    best = hpo.home / "artifacts" / "tiny" / f"{made['selections']['top']['picks'][0]['trial']:05d}" / "weights.ckpt"
    best.unlink()
    taken = hpo.run("ensemble", "tiny", "--out", "best")
    assert (taken.code, "--overwrite" in taken.err, taken.err.count("\n")) == (2, True, 1)
    again = hpo.json("ensemble", "tiny", "--top-n", "2", "--out", "best", "--overwrite", "--retrain")
    assert again["missing"] == []
    assert again["selections"] == made["selections"]
    assert not [path for path in hpo.directory.iterdir() if path.name.startswith(".")]


def test_wrong_inputs_are_refused_in_one_line_and_nothing_is_written(hpo: Command) -> None:
    spec = "name: own\nobjective: objectives:score\nbudgets: [750k]\ntrials: 2\n"
    assert hpo.run("run", hpo.write("own.yaml", spec), "--workers", "0").code == 0
    (hpo.directory / "taken").mkdir()
    (hpo.directory / "taken" / "thesis.txt").write_text("mine")
    wrong = [
        (("ensemble", "own", "--out", "e"), "built-in objective"),
        (("ensemble", "nobody", "--out", "e"), "unknown study"),
        (("ensemble", "own", "--out", "taken", "--overwrite"), "holds something else"),
        (("ensemble", "own", "--out", "own.yaml"), "is a file"),
        (("ensemble", "own", "--out", "e", "--top-n", "0"), "--top-n"),
        (("ensemble", "own"), "--out"),
        (("replay", "taken", "own.yaml", "--from", "2018-01-01"), "own.yaml"),
    ]
    for arguments, said in wrong:
        ended = hpo.run(*arguments)
        assert (ended.code, ended.out) == (2, ""), arguments
        assert said in ended.err, ended.err
        assert ended.err.count("\n") == 1
    assert json.dumps(sorted(path.name for path in hpo.directory.iterdir())) == '["own.yaml", "taken"]'
