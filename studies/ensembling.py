"""Which models to average: the best N, or Caruana's greedy selection. Pure functions of validation predictions.

An ensemble's probability is the weighted mean of its members'. Both selections look at the validation part, as the
search did before them, so the score of what they select is optimistic. `half_split` says by how much selecting adds to
that: it selects on the earlier half of the decisions and scores on the later one. It can't take back that every
member's weights are those of its best look at the whole part.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from studies.metrics import Scores, area_under_curve, classification_scores

Floats = NDArray[np.float64]
Method = Literal["top", "greedy"]

METHODS: Final[tuple[Method, ...]] = ("top", "greedy")


@dataclass(frozen=True, eq=False)
class Predictions:
    """What M models predicted of the same n observations.

    Attributes:
        labels: [n], zeros and ones.
        probabilities: [M, n], the best model first.
        clusters: [n], observations of one cluster share their news; see `studies.metrics`.
        decisions: [n], the time of each observation.
    """

    labels: Floats
    probabilities: Floats
    clusters: NDArray[np.int64]
    decisions: NDArray[np.int64]

    def where(self, chosen: NDArray[np.bool_]) -> "Predictions":
        """The same models on some of the observations."""
        return Predictions(
            self.labels[chosen], self.probabilities[:, chosen], self.clusters[chosen], self.decisions[chosen]
        )

    def combined(self, picks: Sequence[int]) -> Floats:
        """The mean probability [n] of the models picked; one that is picked twice counts twice."""
        return combine(self.probabilities, shares(picks))

    def scores(self, picks: Sequence[int]) -> Scores:
        """All scores of the models picked, together."""
        return classification_scores(self.labels, self.combined(picks), self.clusters)

    def auc(self, picks: Sequence[int]) -> float:
        """The area under the curve of the models picked, together."""
        return area_under_curve(self.labels, self.combined(picks))


def shares(picks: Sequence[int]) -> dict[int, float]:
    """Return each model's share of the picks, in the order of the models."""
    counts = Counter(picks)
    return {model: counts[model] / len(picks) for model in sorted(counts)}


def combine(probabilities: Floats, weights: dict[int, float]) -> Floats:
    """Return the weighted mean [n] of probabilities [M, n]; added up in the order of the weights, so always alike."""
    total = np.zeros(probabilities.shape[1:])
    for model, weight in weights.items():
        total += weight * probabilities[model]
    return total


def select_top(predictions: Predictions, size: int) -> tuple[int, ...]:
    """Pick the first `size` models: they come the best first."""
    return tuple(range(min(size, len(predictions.probabilities))))


def select_greedy(predictions: Predictions, size: int) -> tuple[int, ...]:
    """Pick the model that helps most, `size` times, and return the shortest best beginning of the picks.

    Begins with the best single model, so what it returns is never worse than that on these observations. A model may be
    picked again, which gives it more weight. Of equal candidates the first is picked.

    Source: Caruana, Niculescu-Mizil, Crew and Ksikes 2004, "Ensemble selection from libraries of models", section 2.
    """
    models = range(len(predictions.probabilities))
    picks: list[int] = []
    best: tuple[int, ...] = ()
    best_auc, total = -1.0, np.zeros(predictions.labels.shape)
    for turn in range(1, size + 1):
        areas = [
            area_under_curve(predictions.labels, (total + predictions.probabilities[model]) / turn) for model in models
        ]
        model = int(np.argmax(areas))
        picks.append(model)
        total += predictions.probabilities[model]
        # Strictly: the same area with fewer members is the better ensemble. Scored as it will be used, to the bit.
        if (area := predictions.auc(picks)) > best_auc:
            best, best_auc = tuple(picks), area
    return best


SELECTIONS: Final[dict[Method, Callable[[Predictions, int], tuple[int, ...]]]] = {
    "top": select_top,
    "greedy": select_greedy,
}


@dataclass(frozen=True)
class HalfSplit:
    """Selected on the earlier half of the decisions, scored on the later one.

    Attributes:
        scores: by method, and of the best single model under `single`.
    """

    scores: dict[str, Scores]


def half_split(predictions: Predictions, size: int) -> HalfSplit | None:
    """Return what each selection is worth on observations that it has not seen; None where a half has one class."""
    middle = np.median(predictions.decisions)
    # No cluster on both sides: its observations share returns.
    border = predictions.clusters[predictions.decisions <= middle].max()
    earlier = predictions.where(predictions.clusters < border)
    later = predictions.where(predictions.clusters > border)
    if any(len(set(half.labels.tolist())) < 2 for half in (earlier, later)):
        return None
    ranking = sorted(range(len(earlier.probabilities)), key=lambda model: -earlier.auc([model]))
    found = {"single": later.scores(ranking[:1]), "top": later.scores(ranking[:size])}
    found["greedy"] = later.scores(select_greedy(earlier, size))
    return HalfSplit(found)


def better_method(split: HalfSplit | None) -> Method:
    """Return the method that was better on what it had not seen; the plain top where they are equal or unknown."""
    if split is None:
        return "top"
    return "greedy" if split.scores["greedy"].auc > split.scores["top"].auc else "top"
