"""Making an ensemble of trained members: what is selected, what prediction needs, and what it costs."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from studies.baseline import validation_clusters
from studies.checkpoint_contents import WEIGHTS_NAME, read_checkpoint
from studies.data.history import History, WindowRules
from studies.data.indicators import FEATURE_VERSION
from studies.data.known_values import TrainScaler, common_dates, compute_known
from studies.data.panel import Panel, cut_before_test
from studies.ensemble_file import ENSEMBLE_VERSION, EnsembleFile
from studies.ensembling import (
    METHODS,
    SELECTIONS,
    Floats,
    HalfSplit,
    Method,
    Predictions,
    better_method,
    half_split,
    shares,
)
from studies.errors import EnsembleError
from studies.members import ENSEMBLE_NAME, PREDICTIONS_NAME, Candidate, member_weights
from studies.metrics import area_under_curve
from studies.prediction import Predictor, one_thread
from studies.preparation import load_table, open_panel, panel_options
from studies.spec import Spec

#: How many rows of buffer, in multiples of the indicators' warm-up, are tried; the shortest that agrees is taken.
_MARGINS = (1.5, 2, 3, 4, 5, 6, 8, 12, 16, 24)
#: How far a feature of the buffer may be from that of the whole history, in standard deviations of train.
FEATURE_TOLERANCE = 1e-4
#: Decisions of the validation part at which the two are compared, evenly spaced.
_PROBES = 16
#: Of buffers: whole hundreds are easier to remember.
_ROUND_TO = 100
#: How far predictions of the weights may be from those stored beside them, as probabilities: other weights are farther.
LARGEST_DISAGREEMENT = 0.05
#: How far the AUC of stored predictions may be from the score that is written down for their trial.
SCORE_TOLERANCE = 1e-3
#: What the sizes table goes up to.
LARGEST_SIZE = 10


@dataclass(frozen=True)
class ExportOrder:
    """What an ensemble is made of.

    Attributes:
        spec: of the study.
        home: where its panel is.
        fingerprint: of the panel.
        candidates: the best first.
        size: members of the plain top, picks of the greedy selection.
        method: that predictions use; None: both are kept, and the one used is better on what it has not seen.
        costs: from `studies.ensemble_costs`, for the table of sizes.
        facts: that stand in the JSON as they are.
    """

    spec: Spec
    home: Path
    fingerprint: str
    candidates: tuple[Candidate, ...]
    size: int
    method: Method | None
    costs: Sequence[Mapping[str, Any]] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


def export(order: ExportOrder, directory: Path) -> dict[str, Any]:
    """Write an ensemble into an empty directory and return what stands in its JSON.

    Raises:
        InputError: the prices are not those of the study, or predictions are not of its panel.
    """
    candidates, size = order.candidates, order.size
    whole = open_panel(order.spec, order.home, order.fingerprint)
    panel = cut_before_test(whole)
    maker, predictions = InputMaker(order.spec, panel), read_predictions(panel, candidates)
    split = half_split(predictions, size)
    picks = {name: SELECTIONS[name](predictions, size) for name in METHODS}
    taken = sorted({model for name in METHODS if order.method in {None, name} for model in picks[name]})
    for place, model in enumerate(taken):
        weights = member_weights(directory, place)
        weights.parent.mkdir(parents=True)
        shutil.copyfile(candidates[model].directory / WEIGHTS_NAME, weights)
    used = order.method or better_method(split)
    content = {
        "version": ENSEMBLE_VERSION,
        "study": order.spec.name,
        "used": used,
        **order.facts,
        "members": [_member(candidates[model], model, picks, predictions) for model in taken],
        "selections": {name: _selection(predictions, candidates, picks[name]) for name in METHODS},
        "half_split": _half_split_json(split),
        "sizes": _sizes(predictions, order.costs),
        # The file of prices may have grown since.
        "input": {**maker.as_json(), "prices_until": str(whole.dates[-1])[:10]},
        "panel": order.fingerprint,
    }
    predictor = Predictor(EnsembleFile.model_validate(content), directory)
    content["agreement"] = agreement = _agreement(maker, predictor, predictions.combined(picks[used]))
    if agreement["largest_difference"] > LARGEST_DISAGREEMENT:
        raise EnsembleError(
            f"weights must give the predictions that are stored beside them, to {LARGEST_DISAGREEMENT}, and differ by "
            f"{agreement['largest_difference']:.2g}: a file of {order.spec.name} was replaced; remove that, and use "
            "--retrain"
        )
    (directory / ENSEMBLE_NAME).write_text(json.dumps(content, indent=1), encoding="utf-8")
    return content


def read_predictions(panel: Panel, candidates: Sequence[Candidate]) -> Predictions:
    """Return the validation predictions of these trials.

    Raises:
        EnsembleError: those of a trial are of other decisions or labels than the panel's.
    """
    decisions = np.asarray(panel.splits.validation, dtype=np.int64)
    labels = np.asarray(panel.labels[decisions + panel.horizon], dtype=np.float64).ravel()
    rows = []
    for candidate in candidates:
        path = candidate.directory / PREDICTIONS_NAME
        try:
            with np.load(path, allow_pickle=False) as stored:
                found = {name: stored[name] for name in ("decisions", "labels", "probabilities")}
        except (OSError, ValueError, KeyError) as error:
            raise _damaged(path, str(error).splitlines()[0] if str(error) else type(error).__name__) from None
        if not (np.array_equal(found["decisions"], decisions) and np.array_equal(found["labels"], labels)):
            raise _damaged(path, "it is of other decisions")
        probabilities = found["probabilities"].astype(np.float64)
        if abs(area_under_curve(labels, probabilities) - candidate.score) > SCORE_TOLERANCE:
            raise _damaged(path, f"they score otherwise than its trial {candidate.trial} did")
        rows.append(probabilities)
    repeated = np.repeat(decisions, len(panel.series))
    return Predictions(labels, np.stack(rows), validation_clusters(panel), repeated)


def _damaged(path: Path, why: str) -> EnsembleError:
    return EnsembleError(
        f"validation predictions must be those of the study's panel: {path} is not ({why}); remove it and its "
        "weights, and use --retrain"
    )


def _member(
    candidate: Candidate, model: int, picks: dict[Method, tuple[int, ...]], predictions: Predictions
) -> dict[str, Any]:
    scores = predictions.scores([model])
    contents = read_checkpoint(candidate.directory / WEIGHTS_NAME)
    return {
        "study": candidate.study,
        "trial": candidate.trial,
        "seed": candidate.seed,
        "model": candidate.model,
        "score": candidate.score,
        "auc_low": scores.auc_low,
        "auc_high": scores.auc_high,
        "log_loss": scores.log_loss,
        "parameters": contents.parameters,
        "bytes": contents.file_bytes,
        "step": contents.step,
        "params": contents.configuration["params"],
        "shares": {name: shares(picks[name]).get(model, 0.0) for name in METHODS},
    }


def _selection(predictions: Predictions, candidates: Sequence[Candidate], picks: tuple[int, ...]) -> dict[str, Any]:
    return {
        "picks": [{"study": candidates[model].study, "trial": candidates[model].trial} for model in picks],
        "members": len(set(picks)),
        "scores": predictions.scores(picks).as_attributes(),
        "best_single_auc": max(predictions.auc([model]) for model in range(len(candidates))),
    }


def _half_split_json(split: HalfSplit | None) -> dict[str, Any] | None:
    if split is None:
        return None
    said = "selected on the earlier half of the validation decisions, scored on the later half"
    return {"what": said, **{name: scores.as_attributes() for name, scores in split.scores.items()}}


def _sizes(predictions: Predictions, costs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for size in range(1, min(LARGEST_SIZE, len(predictions.probabilities)) + 1):
        row: dict[str, Any] = {"n": size}
        for name in METHODS:
            picks = SELECTIONS[name](predictions, size)
            scores = predictions.scores(picks)
            row[name] = {
                **{key: getattr(scores, key) for key in ("auc", "auc_low", "auc_high", "log_loss")},
                "members": len(set(picks)),
            }
        rows.append(row | dict(costs[size - 1] if size <= len(costs) else {}))
    return rows


class InputMaker:
    """Computes anew from the study's prices what prediction needs and no panel stores: the scaler, and B."""

    def __init__(self, spec: Spec, panel: Panel) -> None:
        table = load_table(spec)
        if table.ready:
            raise EnsembleError(
                f"an ensemble predicts from prices, and {spec.name} was trained on ready features, which it can't "
                "compute for new rows: average the members' weights in a program of your own"
            )
        options = panel_options(spec)
        dates, _ = common_dates(table)
        target = (options["horizon"], options["threshold"], options["kind"])
        known = compute_known(table, dates, options["tier"], *target)
        self.panel, self._spec = panel, spec
        self._start, self._history = known.first_complete_row(table.origin, dates), History.of(table, panel.series)
        features = known.features[self._start :]
        self._scaler = TrainScaler.of(features[: panel.splits.train.stop + panel.horizon])
        scaled = self._scaler.scale(features)
        if not np.array_equal(scaled[: len(panel.features)], panel.features):
            raise EnsembleError(
                f"the features of {spec.name} must come out of its prices again, and some don't: the libraries that "
                "compute them have changed since; train it again under another name"
            )
        self._scaled = scaled

    def as_json(self) -> dict[str, Any]:
        """Return the `input` of `ensemble.json`."""
        panel, target = self.panel, self._spec.target
        rows, difference = self._shortest_buffer()
        return {
            "series": list(panel.series),
            "tier": self._spec.data.tier,
            "features": list(panel.feature_names),
            "feature_version": FEATURE_VERSION,
            "columns": ["unique_id", "ds", "open", "high", "low", "close", "volume"],
            "horizon": panel.horizon,
            "threshold": target.threshold,
            "kind": target.kind,
            "window": panel.window,
            "history_rows": rows,
            "largest_feature_difference": difference,
            "base_rate": panel.base_rates["train"],
            "train_until": str(panel.dates[panel.splits.train.stop - 1])[:10],
            "validation_until": str(panel.dates[panel.splits.validation.stop - 1])[:10],
            "mean": self._scaler.mean.tolist(),
            "deviation": self._scaler.deviation.tolist(),
        }

    def rules(self, rows: int) -> WindowRules:
        """Return how a window is made of so many rows."""
        panel, target = self.panel, self._spec.target
        tier, kind = self._spec.data.tier, target.kind
        return WindowRules(panel.series, tier, panel.horizon, target.threshold, kind, panel.window, rows, self._scaler)

    def history_at(self, decision: int, rows: int) -> History:
        """Return the last rows that a decision of the panel sees."""
        return self._history.last_rows(self._start + decision + 1, rows)

    def _shortest_buffer(self) -> tuple[int, float]:
        """Return B, and how far features of so many rows are from those of the whole history."""
        needed = self.panel.window + self.panel.horizon
        most = self._start + self.panel.splits.validation.start + 1
        found: tuple[int, float] | None = None
        for margin in _MARGINS:
            rows = -(-int(self._start * margin + needed) // _ROUND_TO) * _ROUND_TO
            if rows > most and found is not None:
                break
            rows = min(rows, most)
            found = rows, self._difference(rows)
            if found[1] <= FEATURE_TOLERANCE:
                break
        assert found is not None
        return found

    def _difference(self, rows: int) -> float:
        rules, worst = self.rules(rows), 0.0
        seen = np.arange(1 - self.panel.window, self.panel.horizon + 1)
        for decision in probes(self.panel):
            _, features = rules.window_of(self.history_at(decision, rows))
            expected = self._scaled[decision + seen]
            worst = max(worst, float(np.abs(features - expected).max(initial=0.0)))
        return worst


def _agreement(maker: InputMaker, predictor: Predictor, stored: Floats) -> dict[str, Any]:
    """Predict some validation decisions from bounded buffers, as a user will, and compare with what was stored.

    Args:
        maker: of the inputs.
        predictor: the ensemble.
        stored: its validation predictions, decision by decision, series by series.
    """
    panel, worst = maker.panel, 0.0
    expected = stored.reshape(-1, len(panel.series))
    with one_thread():
        windows = [predictor.inputs(maker.history_at(decision, predictor.rows)) for decision in probes(panel)]
        # One member in memory at a time: nobody has looked yet whether all of them fit.
        for decision, members in zip(probes(panel), predictor.members_in_turn(windows), strict=True):
            found = predictor.together(members)
            worst = max(worst, float(np.abs(found - expected[decision - panel.splits.validation.start]).max()))
    return {
        "what": "probabilities from bounded buffers against those stored in training",
        "decisions": len(probes(panel)),
        "largest_difference": worst,
    }


def probes(panel: Panel) -> list[int]:
    """Return decisions of the validation part, evenly spaced, the first and the last among them."""
    part = panel.splits.validation
    chosen = np.linspace(part.start, part.stop - 1, min(_PROBES, len(part))).astype(int)
    return sorted(set(chosen.tolist()))
