"""When a search has converged: the best few distinct configurations score nearly the same.

The rule looks at distinct configurations, not at rows: a sampler that proposes its best configuration five
times over has repeated itself, not converged. It is a pure function of scores; the caller reads them and
stores the evidence.
"""

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from statistics import mean

from budgets.errors import InputError

SPREAD_TOLERANCE = 1e-9
"""What a spread may exceed its threshold by and still equal it.

0.72 − 0.70 is 0.020000000000000018 in binary floating point; scores of 422 validation days cannot differ by
less than 1e-5, so nothing real is as small as this.
"""


@dataclass(frozen=True, slots=True)
class Convergence:
    """A verdict with its evidence; it is true where the search has converged.

    `complete` counts the trials with a finite score, repeats included. `best` holds the best distinct
    configurations' scores, best first, `top_k` of them or as many as there are. `spread` is best minus worst
    of them, None below `top_k`. `reason` is a sentence without a full stop. `seed_noise` is the spread that
    scores of one configuration have between seeds, where it is known.
    """

    converged: bool
    reason: str
    complete: int
    best: tuple[float, ...]
    spread: float | None
    patience: int
    threshold: float
    top_k: int
    seed_noise: float | None = None

    def __bool__(self) -> bool:
        return self.converged

    @property
    def below_seed_noise(self) -> bool:
        """Whether the best differ by less than one configuration does between seeds."""
        return self.spread is not None and self.seed_noise is not None and self.spread < self.seed_noise

    def evidence(self) -> dict[str, object]:
        """Return what the verdict rests on, ready for JSON; the noise where it is known, and a spread below it."""
        found: dict[str, object] = {
            "count": self.complete,
            "scores": list(self.best),
            "spread": self.spread,
            "threshold": self.threshold,
            "patience": self.patience,
            "top_k": self.top_k,
        }
        if self.seed_noise is not None:
            found["seed_noise"] = self.seed_noise
        if self.below_seed_noise:
            found["below_seed_noise"] = True
        return found


def check_early_stopping_convergence(
    scores: Sequence[float | None],
    patience: int = 20,
    threshold: float = 0.02,
    top_k: int = 5,
    *,
    configurations: Sequence[Hashable] | None = None,
    open_forced: int = 0,
    direction: str = "maximize",
    seed_noise: float | None = None,
) -> Convergence:
    """Return whether a search has converged, and why or why not.

    It has when no forced trial is open, at least `patience` trials are complete, and the best `top_k`
    distinct configurations score within `threshold` of each other (a spread equal to the threshold counts). A
    patience above the study's cap is never reached and so switches the rule off.

    Args:
        scores: one a trial. None (a failed or pruned trial), NaN and infinities don't count for anything.
        patience: the number of complete trials needed, 1 or more.
        threshold: the widest spread that counts as converged, in units of the score, 0 or more.
        top_k: how many distinct configurations are compared, 2 or more.
        configurations: a key for each score; equal keys count once among the best, by the mean of their
            scores. Without it every score is a configuration of its own.
        open_forced: how many forced trials have not ended, whatever their state.
        direction: `maximize` or `minimize`.
        seed_noise: the spread between seeds, in units of the score, for the evidence alone.

    Raises:
        InputError: an argument is out of its range, or configurations and scores differ in number.
    """
    _check_rule(patience, threshold, top_k, direction)
    if open_forced < 0:
        raise InputError(f"the number of open forced trials is 0 or more, not {open_forced}: count those not ended")
    complete, means = _finite_means(scores, configurations)
    ranked = sorted(means, reverse=direction == "maximize")
    best = tuple(ranked[:top_k])
    spread = max(best) - min(best) if len(best) == top_k else None
    obstacle = (
        _open_forced(open_forced)
        or _too_few("trials", complete, patience)
        or _too_few("distinct configurations", len(ranked), top_k)
    )
    close = spread is not None and spread <= threshold + SPREAD_TOLERANCE
    return Convergence(
        converged=close and not obstacle,
        reason=obstacle or _comparison(spread or 0.0, threshold, top_k, close, seed_noise),
        complete=complete,
        best=best,
        spread=spread,
        patience=patience,
        threshold=threshold,
        top_k=top_k,
        seed_noise=seed_noise,
    )


def _check_rule(patience: int, threshold: float, top_k: int, direction: str) -> None:
    if patience < 1:
        raise InputError(f"early-stop patience is 1 trial or more, not {patience}: 20 is the default")
    if not 0 <= threshold < math.inf:
        raise InputError(f"early-stop threshold is a number from 0, not {threshold}: 0.02 is the default")
    if top_k < 2:
        raise InputError(f"early-stop top-k is 2 or more, not {top_k}: one score has no spread; 5 is the default")
    if direction not in {"maximize", "minimize"}:
        raise InputError(f"a direction is maximize or minimize, not {direction!r}: write one of the two")


def _finite_means(
    scores: Sequence[float | None], configurations: Sequence[Hashable] | None
) -> tuple[int, Iterable[float]]:
    """Return how many scores are finite, and the mean of those of each configuration."""
    keys = range(len(scores)) if configurations is None else configurations
    if len(keys) != len(scores):
        raise InputError(f"each score has a configuration, not {len(keys)} for {len(scores)}: give one key a score")
    finite = [
        (key, float(score))
        for key, score in zip(keys, scores, strict=True)
        if score is not None and math.isfinite(score)
    ]
    single = dict(finite)
    if len(single) == len(finite):
        # Nearly always; an exact mean takes 5 µs, and 10,000 lists to hold one score each take as long as all the rest.
        return len(finite), single.values()
    groups: dict[Hashable, list[float]] = {}
    for key, score in finite:
        groups.setdefault(key, []).append(score)
    return len(finite), [same[0] if len(same) == 1 else mean(same) for same in groups.values()]


def _open_forced(count: int) -> str:
    if count == 0:
        return ""
    return "1 forced trial has not ended" if count == 1 else f"{count} forced trials have not ended"


def _too_few(noun: str, found: int, needed: int) -> str:
    return "" if found >= needed else f"{found} of {needed} {noun} needed are complete"


def _comparison(spread: float, threshold: float, top_k: int, close: bool, seed_noise: float | None) -> str:
    """Return the sentence on spread and threshold, in three digits or as many as tell the two apart."""
    apart = (n for n in range(3, 11) if f"{spread:.{n}g}" != f"{threshold:.{n}g}")
    shown = f"{spread:.{next(apart, 3)}g}"
    sentence = f"the best {top_k} lie within {shown}, {'at most' if close else 'more than'} {threshold:.10g}"
    if seed_noise is None or spread >= seed_noise:
        return sentence
    return f"{sentence}, and below the noise of {seed_noise:.3g} between seeds"
