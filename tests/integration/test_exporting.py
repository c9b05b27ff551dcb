"""An ensemble of models that were really trained."""

import json
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from studies.data.examples import load_example
from studies.data.panel import cut_before_test
from studies.data.prices import check_prices
from studies.declaration import architecture_values, derive
from studies.ensemble_costs import measure_costs
from studies.errors import EnsembleError
from studies.exporting import ExportOrder, InputMaker, export, read_predictions
from studies.members import Candidate, member_weights
from studies.objective import TrialContext
from studies.predict import predict
from studies.preparation import open_panel, prepare_prices, window_shape
from studies.reading import read_spec
from studies.sections import DataSpec
from studies.training import score

TRAINING = {"max_steps": 6, "window": 20, "effective_batch": 16, "check_every": 2}


@dataclass(frozen=True)
class Made:
    """Three trained members, and the ensemble of them."""

    order: ExportOrder
    directory: Path
    content: dict


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("root")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spec = read_spec("quickstart", {"training": TRAINING})
        sizes = prepare_prices(spec, root).sizes
        found = []
        for number, rate in enumerate((1e-3, 7e-4, 3e-4)):
            params = {"budget": "750k", "style": "shallow", "dropout": 0.1, "learning_rate": rate, "weight_decay": 0.0}
            directory = root / str(number)
            context = TrialContext(spec, number, 1, number, directory, root, sizes=sizes)
            auc = score({**params, **derive(params, architecture_values(spec))}, context)
            found.append(Candidate(spec.name, number, number, spec.model, auc, directory))
        found.sort(key=lambda each: -each.score)
        panel = open_panel(spec, root, sizes["panel"])
        # As the command does, in a process where nothing was loaded before: this one has trained, and the members would
        # fit into the memory that it has freed.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            costs = pool.submit(measure_costs, found, window_shape(panel)).result()
        order = ExportOrder(spec, root, sizes["panel"], tuple(found), 2, None, costs, {"missing": []})
        directory = root / "ensemble"
        directory.mkdir()
        return Made(order, directory, export(order, directory))


def test_an_ensemble_says_what_it_is_worth_singly_and_together(made: Made) -> None:
    content, candidates = made.content, made.order.candidates
    assert content == json.loads((made.directory / "ensemble.json").read_text())
    panel = cut_before_test(open_panel(made.order.spec, made.order.home, made.order.fingerprint))
    predictions = read_predictions(panel, candidates)
    for model, candidate in enumerate(candidates):
        # Stored as float32: ties may come that were none.
        assert predictions.auc([model]) == pytest.approx(candidate.score, abs=1e-4)
    top, greedy = content["selections"]["top"], content["selections"]["greedy"]
    assert [each["trial"] for each in top["picks"]] == [each.trial for each in candidates[:2]]
    assert top["scores"]["auc"] == pytest.approx(predictions.auc([0, 1]))
    assert greedy["scores"]["auc"] >= greedy["best_single_auc"]
    assert set(content["half_split"]) == {"what", "single", "top", "greedy"}
    assert sum(member["shares"]["top"] for member in content["members"]) == pytest.approx(1)


def test_every_number_of_members_has_its_price(made: Made) -> None:
    rows = made.content["sizes"]
    assert [row["n"] for row in rows] == [1, 2, 3]
    for name in ("parameters", "bytes"):
        assert rows[0][name] < rows[2][name]
    # How long it takes is the machine's affair.
    assert all(row["seconds"] > 0 for row in rows)
    assert rows[2]["resident_mb"] > rows[2]["added_mb"] > 0
    assert rows[1]["top"]["auc"] == made.content["selections"]["top"]["scores"]["auc"]


def test_predictions_of_bounded_buffers_are_those_of_training_and_so_is_their_area(made: Made) -> None:
    assert made.content["input"]["largest_feature_difference"] < 1e-4
    assert made.content["agreement"]["largest_difference"] < 1e-3
    assert made.content["input"]["history_rows"] < 1500


def test_new_rows_are_predicted_as_training_predicted_them(made: Made, tmp_path: Path) -> None:
    panel = open_panel(made.order.spec, made.order.home, made.order.fingerprint)
    prices = tmp_path / "prices.csv"
    load_example("indices").frame.to_csv(prices, index=False)
    validation = panel.splits.validation
    first, last = (str(panel.dates[row])[:10] for row in (validation.start, validation.start + 9))
    found = [each.probability for each in predict(made.directory, prices, first, last)]
    used = made.content["selections"][made.content["used"]]["picks"]
    places = [next(i for i, c in enumerate(made.order.candidates) if c.trial == each["trial"]) for each in used]
    stored = read_predictions(cut_before_test(panel), made.order.candidates).combined(places)[:20]
    np.testing.assert_allclose(found, stored, atol=1e-5)


def test_one_method_keeps_its_own_members_alone(made: Made, tmp_path: Path) -> None:
    content = export(replace(made.order, method="top", size=1), tmp_path)
    assert (content["used"], len(content["members"])) == ("top", 1)
    assert not member_weights(tmp_path, 1).exists()


def test_predictions_of_another_panel_are_refused(made: Made, tmp_path: Path) -> None:
    panel = cut_before_test(open_panel(made.order.spec, made.order.home, made.order.fingerprint))
    other = replace(made.order.candidates[0], directory=tmp_path)
    with pytest.raises(EnsembleError, match="must be those of the study's panel"):
        read_predictions(panel, [other])
    np.savez(tmp_path / "validation.npz", decisions=np.arange(3), labels=np.zeros(3), probabilities=np.zeros(3))
    with pytest.raises(EnsembleError, match="of other decisions"):
        read_predictions(panel, [other])


def test_a_study_on_ready_features_has_no_ensemble(made: Made, tmp_path: Path) -> None:
    frame = load_example("indices").frame[["unique_id", "ds", "close"]].assign(y=0)
    frame.loc[::3, "y"] = 1
    path = tmp_path / "ready.csv"
    frame.to_csv(path, index=False)
    assert check_prices(frame, "ready").ready
    spec = made.order.spec.model_copy(update={"data": DataSpec(path=path, tier="a20")})
    panel = open_panel(made.order.spec, made.order.home, made.order.fingerprint)
    with pytest.raises(EnsembleError, match="ready features"):
        InputMaker(spec, panel)
