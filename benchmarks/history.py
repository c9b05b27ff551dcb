"""How long a history a prediction needs: bounded buffers against the whole history, on the built-in prices.

    python benchmarks/history.py [--home DIR] [--steps 60]

Two tables. Features: the largest difference of any feature of any window at 24 validation decisions, in standard
deviations of train. Probabilities: one model of 750 thousand parameters is trained on tier a20, and all validation
decisions are predicted from buffers of each length.
"""

import argparse
import logging
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from studies.checkpoint_contents import read_checkpoint
from studies.data.history import History, WindowRules
from studies.data.panel import Panel, cut_before_test
from studies.declaration import architecture_values, derive
from studies.ensemble_file import MemberPart
from studies.exporting import InputMaker
from studies.metrics import area_under_curve
from studies.objective import TrialContext
from studies.prediction import MemberModel, as_inputs, one_thread
from studies.preparation import open_panel, prepare_prices, window_shape
from studies.reading import read_spec
from studies.spec import Spec
from studies.training import score

ROWS = (400, 500, 700, 900, 1100, 1500)
PARAMS = {"budget": "750k", "style": "shallow", "dropout": 0.3, "learning_rate": 1e-3, "weight_decay": 1e-3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=Path(tempfile.gettempdir()) / "hpo-history")
    parser.add_argument("--steps", type=int, default=60)
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    print("tier   rows  largest difference of a feature   ms a decision")
    for tier in ("a20", "a50", "a200"):
        spec = read_spec("quickstart", {"data": {"tier": tier}})
        _features(spec, InputMaker(spec, _panel(spec, given.home)))
    spec = read_spec("quickstart", {"training": {"max_steps": given.steps, "check_every": 20}})
    _probabilities(spec, given.home)


def _panel(spec: Spec, home: Path) -> Panel:
    return cut_before_test(open_panel(spec, home, prepare_prices(spec, home).sizes["panel"]))


def _features(spec: Spec, maker: InputMaker) -> None:
    part = maker.panel.splits.validation
    for rows in ROWS:
        rules, worst, seconds = maker.rules(rows), 0.0, 0.0
        for decision in np.linspace(part.start, part.stop - 1, 24).astype(int):
            history, began = maker.history_at(int(decision), rows), time.perf_counter()
            _, features = rules.window_of(history)
            seconds += time.perf_counter() - began
            seen = slice(decision - maker.panel.window + 1, decision + maker.panel.horizon + 1)
            worst = max(worst, float(np.abs(features - maker.panel.features[seen]).max()))
        print(f"{spec.data.tier:5} {rows:5}  {worst:.1e}  {seconds / 24 * 1000:32.1f}")


def _probabilities(spec: Spec, home: Path) -> None:
    panel = _panel(spec, home)
    values = {**PARAMS, **derive(PARAMS, architecture_values(spec))}
    directory = home / "trained"
    context = TrialContext(spec, 0, 1, 1, directory, home, sizes=prepare_prices(spec, home).sizes, threads=2)
    recorded = score(values, context)
    stored = np.load(directory / "validation.npz")
    model, maker = _model(spec, panel, directory), InputMaker(spec, panel)
    print(f"\nstored AUC {recorded:.6f}\nrows  largest difference of a probability  AUC       ms a bar")
    for rows in ROWS:
        rules, began = maker.rules(rows), time.perf_counter()
        with one_thread():
            found = np.concatenate([_one(model, rules, maker.history_at(row, rows)) for row in panel.splits.validation])
        seconds = (time.perf_counter() - began) / len(panel.splits.validation)
        worst = np.abs(found - stored["probabilities"]).max()
        print(f"{rows:5} {worst:8.1e} {area_under_curve(stored['labels'], found):38.6f} {seconds * 1000:10.0f}")


def _one(model: MemberModel, rules: WindowRules, history: History) -> np.ndarray:
    return model.probabilities(as_inputs(*rules.window_of(history)))


def _model(spec: Spec, panel: Panel, directory: Path) -> MemberModel:

    weights = directory / "weights.ckpt"
    params = read_checkpoint(weights).configuration["params"]
    known = {"study": spec.name, "trial": 0, "seed": 1, "model": spec.model, "score": 0.0, "shares": {}}
    part = MemberPart.model_validate({**known, "params": params})
    return MemberModel(part, window_shape(panel), weights)


if __name__ == "__main__":
    main()
