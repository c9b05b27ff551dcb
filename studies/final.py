"""The test part: untouched while a study searches, and read once, by models that were trained for that.

Everything else that trains or scores cuts it away; see `studies.data.panel.cut_before_test`. The scaler knows the train
part alone, so nothing has to be fitted again.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from budgets import Architecture
from studies.baseline import baseline_name, baseline_predictions, decision_clusters
from studies.batches import batch_plan
from studies.checkpoint_weights import load_weights
from studies.data.panel import Panel, cut_before_test
from studies.errors import DataError
from studies.families import FAMILIES
from studies.metrics import area_under_curve
from studies.preparation import open_panel, window_shape
from studies.spec import Spec
from studies.trained import ReadPart, TrainedModel
from studies.validation import windows_at_once
from studies.windows import Windows


def check_test_part(spec: Spec, sizes: Mapping[str, Any], home: Path) -> None:
    """Refuse a test part that could not tell anything, before anybody trains for it.

    Raises:
        DataError: this machine has not the study's prices, or all labels of the test part are equal.
    """
    rate = open_panel(spec, home, sizes["panel"]).base_rates["test"]
    if not 0 < rate < 1:
        raise DataError(
            f"labels of the test part must be of both classes: in study {spec.name} its base rate is {rate:g}; begin a "
            "study under another name with a larger split.test or another threshold"
        )


def validation_area(model: TrainedModel, sizes: Mapping[str, Any], home: Path) -> float:
    """Return the validation AUC of the stored weights; the test part is cut away."""
    windows = Windows(cut_before_test(open_panel(model.spec, home, sizes["panel"])))
    decisions = windows.panel.splits.validation
    return area_under_curve(_labels(windows.panel, decisions), _probabilities(model, windows, decisions))


def read_test_part(models: Sequence[TrainedModel], sizes: Mapping[str, Any], home: Path, threads: int) -> ReadPart:
    """Return what every model says of the test part; whoever calls this has written down before that it is read."""
    torch.set_num_threads(threads)
    panel = open_panel(models[0].spec, home, sizes["panel"])
    windows, decisions = Windows(panel), panel.splits.test
    labels, baseline = baseline_predictions(panel, decisions)
    return ReadPart(
        labels=labels,
        clusters=decision_clusters(panel, decisions),
        probabilities=np.stack([_probabilities(model, windows, decisions) for model in models]),
        baseline=baseline,
        baseline_name=baseline_name(panel),
        first=str(panel.dates[decisions.start])[:10],
        last=str(panel.dates[decisions.stop - 1])[:10],
        series=len(panel.series),
    )


def _labels(panel: Panel, decisions: range) -> NDArray[np.float64]:
    rows = np.asarray(decisions) + panel.horizon
    return np.asarray(panel.labels[rows], dtype=np.float64).reshape(-1)


def _probabilities(model: TrainedModel, windows: Windows, decisions: range) -> NDArray[np.float64]:
    """Return the probabilities [decisions × series] as the looks of a training compute them."""
    spec, params = model.spec, model.params
    architecture = Architecture(int(params["d_model"]), int(params["n_layers"]), int(params["n_heads"]))
    family, shape = FAMILIES[spec.model], window_shape(windows.panel)
    # Some families draw at random what is no weight: by the seed of the training.
    network = family.build(architecture, shape, float(params["dropout"]), model.seed)
    load_weights(network, model.weights)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device).eval()
    at_once, rows = windows_at_once(batch_plan(params, spec.training)), np.asarray(decisions, dtype=np.int64)
    found = []
    with torch.no_grad():
        for start in range(0, len(rows), at_once):
            inputs, _ = windows.at(rows[start : start + at_once])
            logits = network({name: value.to(device) for name, value in inputs.items()})[:, -1]
            found.append(torch.sigmoid(logits.double()).cpu().numpy().ravel())
    return np.concatenate(found)
