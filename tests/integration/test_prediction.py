"""Predictions of real networks from bounded histories: equal bits however they are asked for, and wrong inputs."""

import csv
import json
import pickle
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from ensembles import edit_json, make_ensemble, make_input, make_prices, write_member

from hpo.cli import execute
from studies.data.history import History
from studies.data.prices import load_prices
from studies.ensemble_file import InputPart
from studies.errors import CheckpointError, EnsembleError
from studies.members import member_weights
from studies.predict import Prediction, main, predict
from studies.prediction import open_predictor

LAST_DAYS = 5


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prices(tmp_path_factory.mktemp("prices") / "prices.csv", make_prices())


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ensemble(tmp_path_factory.mktemp("ensemble"), members=3)


def write_prices(path: Path, frame: pd.DataFrame) -> Path:
    frame.to_csv(path, index=False)
    return path


def first_day(prices: Path, days: int = LAST_DAYS) -> str:
    return sorted(set(load_prices(prices).frame["ds"].dt.strftime("%Y-%m-%d")))[-days]


def by_key(found: list[Prediction]) -> dict[tuple[str, str], float]:
    return {(each.date, each.series): each.probability for each in found}


def test_the_last_date_is_predicted_and_its_probability_is_the_mean_of_the_members(
    directory: Path, prices: Path
) -> None:
    found = list(predict(directory, prices))
    last = str(load_prices(prices).frame["ds"].max())[:10]
    assert [(each.date, each.series) for each in found] == [(last, "A"), (last, "B")]
    for each in found:
        assert each.probability == pytest.approx(np.mean(each.members), abs=1e-15)
        assert 0 < min(each.members) < max(each.members) < 1


def test_batch_one_by_one_in_another_order_and_one_member_at_a_time_give_the_same_bits(
    directory: Path, prices: Path
) -> None:
    first = first_day(prices)
    batch = by_key(list(predict(directory, prices, first)))
    assert len(batch) == LAST_DAYS * 2
    assert by_key(list(predict(directory, prices, first, one_at_a_time=True))) == batch
    days = sorted({day for day, _ in batch}, reverse=True)
    alone = [each for day in days for each in predict(directory, prices, last=day)]
    assert by_key(alone) == batch


def test_replay_gives_the_bits_of_the_batch(
    directory: Path, prices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, out = first_day(prices), tmp_path / "out.csv"
    assert main([str(directory), str(prices), "--from", first, "--out", str(out)]) == 0
    with out.open() as file:
        batch = {(row["ds"], row["unique_id"]): float(row["probability"]) for row in csv.DictReader(file)}
    assert execute(["replay", str(directory), str(prices), "--from", first, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    replayed = {
        (bar["ds"], name): value for bar in found["predictions"] for name, value in bar["probabilities"].items()
    }
    assert replayed == batch
    (summary,) = found["ensembles"]
    assert (summary["bars"], summary["decisions"], summary["judged"]) == (LAST_DAYS, LAST_DAYS * 2, LAST_DAYS * 2 - 2)
    assert summary["threshold"] == 0.3


def test_neither_later_prices_nor_rows_before_the_buffer_change_a_probability(
    directory: Path, prices: Path, tmp_path: Path
) -> None:
    day = first_day(prices)
    before = by_key(list(predict(directory, prices, last=day)))
    frame, moment = pd.read_csv(prices), day
    later = frame["ds"] > moment
    frame.loc[later, ["open", "high", "low", "close"]] *= 3
    days = sorted(frame["ds"].unique())
    early = frame["ds"] < days[len(days) - LAST_DAYS + 1 - 300]
    assert later.any()
    assert early.any()
    frame.loc[early, ["open", "high", "low", "close"]] *= 7
    changed = write_prices(tmp_path / "changed.csv", frame)
    assert by_key(list(predict(directory, changed, last=day))) == before
    assert by_key(list(predict(directory, write_prices(tmp_path / "cut.csv", frame[~later])))) == before


def test_members_are_read_when_they_are_needed_and_unused_ones_never(tmp_path: Path, prices: Path) -> None:
    made = make_ensemble(tmp_path / "e", members=2)
    edit_json(made, used="greedy")
    # Greedy gives the second member nothing.
    member_weights(made, 1).unlink()
    assert len(next(iter(predict(made, prices))).members) == 1
    edit_json(made, used="top")
    open_predictor(made)
    with pytest.raises(CheckpointError, match="must be there to be read"):
        list(predict(made, prices))


def test_two_ensembles_stand_side_by_side(
    directory: Path, prices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_ensemble(tmp_path / "other", members=1)
    arguments = ["replay", str(directory), str(prices), "--from", first_day(prices), "--against", str(other)]
    assert execute([*arguments, "--quiet", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["members"] for each in found["ensembles"]] == [3, 1]
    assert execute(arguments) == 0
    said = capsys.readouterr().out
    assert said.count("A 0.") == LAST_DAYS * 2
    assert "test part" not in said
    assert execute([*arguments[:4], "2021-06-29", "--to", "2021-07-02", "--quiet"]) == 0
    assert "less of a test" in " ".join(capsys.readouterr().out.split())
    assert execute([*arguments[:4], "2021-05-28", "--to", "2021-06-02", "--quiet"]) == 0
    assert "what it says of them is no test" in " ".join(capsys.readouterr().out.split())
    assert "Sharpe a year" in said


def test_a_window_without_indicators_is_predicted_too(tmp_path: Path, prices: Path) -> None:
    made = make_ensemble(tmp_path / "e", members=1, tier="none", mean=[[], []], deviation=[[], []], history_rows=20)
    assert len(list(predict(made, prices, first_day(prices)))) == LAST_DAYS * 2


# What is wrong, how it is made so, and what the one line must say.
Break = Callable[[Path], None]


def _missing_json(directory: Path) -> None:
    (directory / "ensemble.json").unlink()


def _no_json(directory: Path) -> None:
    (directory / "ensemble.json").write_text("{")


def _nested_json(directory: Path) -> None:
    (directory / "ensemble.json").write_text("[" * 100_000)


def _a_list(directory: Path) -> None:
    (directory / "ensemble.json").write_text("[1]")


def _newer(directory: Path) -> None:
    edit_json(directory, version=2)


def _other_features(directory: Path) -> None:
    edit_json(directory, input=make_input(feature_version=99))


def _lost_scaler(directory: Path) -> None:
    edit_json(directory, input=make_input(mean=[[0.0]]))


def _no_members(directory: Path) -> None:
    edit_json(directory, members=[])


def _shares(directory: Path) -> None:
    content = json.loads((directory / "ensemble.json").read_text())
    content["members"][0]["shares"]["top"] = 0.9
    edit_json(directory, members=content["members"])


def _cut_weights(directory: Path) -> None:
    path = member_weights(directory, 0)
    path.write_bytes(path.read_bytes()[:-500])


def _spoilt_weights(directory: Path) -> None:
    path = member_weights(directory, 0)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle] ^= 0xFF
    path.write_bytes(content)


def _swapped_weights(directory: Path) -> None:
    shape = InputPart.model_validate(make_input()).shape
    write_member(member_weights(directory, 0), shape, seed=5, params={"d_model": 32})


class _Harm:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("/tmp/harm-was-done"),))


def _malicious(directory: Path) -> None:
    torch.save({"state_dict": _Harm()}, member_weights(directory, 0))


def _plain_pickle(directory: Path) -> None:
    member_weights(directory, 0).write_bytes(pickle.dumps(_Harm()))


def _compressed(directory: Path) -> None:
    with zipfile.ZipFile(member_weights(directory, 0), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"0" * 1000)


WRONG: list[tuple[Break, str]] = [
    (_missing_json, "holds ensemble.json"),
    (_no_json, "must be JSON"),
    (_nested_json, "must be JSON"),
    (_a_list, "must be a JSON object"),
    (_newer, "version 1"),
    (_other_features, "indicators, version"),
    (_lost_scaler, "mean has another shape"),
    (_no_members, "members"),
    (_shares, "shares of top add up"),
    (_cut_weights, "must be whole"),
    (_spoilt_weights, "damaged"),
    (_swapped_weights, "of another configuration"),
    (_malicious, "nothing in it was run"),
    (_plain_pickle, "must be one of hpo's"),
    (_compressed, "compressed archive"),
]


@pytest.mark.parametrize(("breaks", "said"), WRONG, ids=[breaks.__name__[1:] for breaks, _ in WRONG])
def test_a_spoilt_ensemble_is_refused_in_one_line(
    breaks: Break, said: str, tmp_path: Path, prices: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, out = make_ensemble(tmp_path / "e"), tmp_path / "out.csv"
    breaks(made)
    assert main([str(made), str(prices), "--out", str(out)]) == 2
    found = capsys.readouterr()
    assert said in found.err
    assert found.err.count("\n") == 1
    assert not out.exists()
    assert not Path("/tmp/harm-was-done").exists()
    # The same through the command that replays.
    assert execute(["replay", str(made), str(prices), "--from", first_day(prices)]) == 2
    assert said in capsys.readouterr().err


def _drop(column: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda frame: frame.drop(columns=column)


WRONG_PRICES: list[tuple[str, Callable[[pd.DataFrame], pd.DataFrame], list[str], str]] = [
    ("a column", _drop("volume"), [], "lacks volume"),
    ("a series", lambda frame: frame[frame["unique_id"] != "B"], [], "lacks B"),
    ("history", lambda frame: frame.groupby("unique_id").tail(299), [], "needs 300 rows a series"),
    ("history before a date", lambda frame: frame, ["--from", "2020-02-03"], "earlier rows"),
    ("dates after the end", lambda frame: frame, ["--from", "2031-01-01"], "must hold a date of the prices"),
    ("dates before the start", lambda frame: frame, ["--to", "1999-01-01"], "must hold a date of the prices"),
    ("a date", lambda frame: frame, ["--from", "soon"], "a date such as"),
]


@pytest.mark.parametrize(
    ("changes", "options", "said"), [each[1:] for each in WRONG_PRICES], ids=[e[0] for e in WRONG_PRICES]
)
def test_prices_that_lack_something_are_refused_in_one_line(
    changes: Callable[[pd.DataFrame], pd.DataFrame],
    options: list[str],
    said: str,
    directory: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = write_prices(tmp_path / "given.csv", changes(make_prices()))
    assert main([str(directory), str(given), *options]) == 2
    found = capsys.readouterr()
    assert said in found.err
    assert (found.out, found.err.count("\n")) == ("", 1)


def test_a_history_that_is_too_short_is_told_how_many_rows_it_lacks(directory: Path, tmp_path: Path) -> None:
    given = write_prices(tmp_path / "short.csv", make_prices(290))
    with pytest.raises(EnsembleError, match=r"has 290 up to .*give 10 earlier rows"):
        list(predict(directory, given))


@pytest.mark.parametrize(("option", "value"), [("--threshold", "1.5"), ("--cost", "-1"), ("--from", "x")])
def test_options_of_a_replay_are_checked(
    option: str, value: str, directory: Path, prices: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"--from": "2021-06-01", option: value}
    arguments = [text for pair in given.items() for text in pair]
    assert execute(["replay", str(directory), str(prices), *arguments]) == 2
    assert option in capsys.readouterr().err


def test_a_directory_that_is_none_and_prices_that_are_none(tmp_path: Path, prices: Path, directory: Path) -> None:
    assert main([str(tmp_path / "nothing"), str(prices)]) == 2
    assert main([str(prices), str(prices)]) == 2
    assert main([str(directory), str(tmp_path / "nothing.csv")]) == 2
    assert main([str(directory), str(prices), "--out", str(tmp_path / "no" / "where.csv")]) == 2


def test_a_model_never_sees_more_than_its_window(directory: Path, prices: Path) -> None:
    predictor = open_predictor(directory)
    history = History.of(load_prices(prices), predictor.series)
    inputs = predictor.inputs(history.last_rows(len(history), predictor.rows))
    assert {name: tuple(value.shape) for name, value in inputs.items()} == {
        "insample_y": (1, 10, 2),
        "futr_exog": (1, 20, 11, 2),
    }
