"""What the designs of a study have shown, each effect against the noise.

Two estimates of a difference are made, and the one that can see more is taken, without a look at the difference:

pair    the configuration with the value less its default, both averaged over seeds, against the noise between seeds;
model   the same from an additive model of the configurations of the budget, or of all, so that sampled trials sharpen
        it, against their spread around the model of all, or the noise between seeds where that is larger. Where that
        spread is more than the noise explains, the model misses something, and pairs are preferred.

Intervals are of one effect, by Student's t. Verdicts are of all effects of a report together (Holm): a study of
nothing but noise gives none in 99 of 100 reports. `docs/effects.md` has the simulation.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, Final

import numpy as np

from hpo.report.additive import Configuration, Fit, Model, configurations, parts
from hpo.report.contrasts import Contrast, Params, contrasts_of, designs_of
from hpo.report.evidence import Evidence, Trial
from hpo.report.significance import (
    CONFIDENCE,
    LEAST_DEGREES,
    Estimate,
    NoiseLevel,
    Source,
    Spread,
    Verdict,
    around,
    exceeds,
    holm,
    judge,
    known_noise,
    narrowest,
)

FAMILY_ERROR: Final = 0.01
"""How often a report on nothing but noise may claim any effect at all. All findings share 0.05; the rest is theirs."""


@dataclass(frozen=True)
class Effect:
    """One value of a parameter against its default.

    Attributes:
        study: that it was seen in.
        name: of the design; of parameter and value, such as `dropout=0.1`, over all budgets.
        budget: None over all budgets, or where there are none.
        contrast: what is compared, in words.
        difference: in the score, positive for better; None where the trials don't tell it.
        low: the lower end of its 95 % interval; None where the noise is unknown.
        high: the upper end.
        n_a: trials of exactly the configuration with the value, over seeds; sampled ones beside it are not counted.
        n_b: of the default.
        estimator: `pair` or `model`.
        configurations: that the estimate rests on.
        noise: what it was judged by.
        p_value: with all comparisons of the report considered.
        detectable: the smallest difference that would have been seen in four of five such studies.
        trials: numbers of both sides' trials.
    """

    study: str
    name: str
    group: str
    budget: str | None
    parameter: str
    contrast: str
    difference: float | None
    low: float | None
    high: float | None
    n_a: int
    n_b: int
    estimator: str | None
    configurations: int
    noise: Spread | None
    p_value: float | None
    detectable: float | None
    verdict: Verdict
    sentence: str
    trials: tuple[int, ...]


@dataclass(frozen=True)
class EffectFindings:
    """All effects of a report.

    Attributes:
        comparisons: how many were judged together.
        notes: sentences on the noise that was used, and on what could not be compared.
    """

    effects: tuple[Effect, ...]
    comparisons: int
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "effects": [asdict(each) for each in self.effects],
            "comparisons": self.comparisons,
            "family_error": FAMILY_ERROR,
            "notes": list(self.notes),
        }


def effects(evidence: Evidence, noise: NoiseLevel | None) -> EffectFindings:
    """Return the effects of a study's designs, and of those that supplement it.

    Args:
        evidence: of a study with its supplements; one without designs has no effects, and a note says so.
        noise: between seeds, of one trial; None where it is unknown.
    """
    studied = [Studied(each, noise) for each in (evidence, *evidence.supplements)]
    asked = [(each, contrast) for each in studied for contrast in each.contrasts]
    estimates = [narrowest(each.estimates(contrast), FAMILY_ERROR / len(asked)) for each, contrast in asked]
    comparisons = sum(estimate is not None and estimate.spread is not None for estimate in estimates)
    adjusted = holm([None if estimate is None else estimate.p_value for estimate in estimates])
    found = tuple(
        each.effect(contrast, estimate, p_value, comparisons)
        for (each, contrast), estimate, p_value in zip(asked, estimates, adjusted, strict=True)
    )
    return EffectFindings(found, comparisons, tuple(dict.fromkeys(note for each in studied for note in each.notes())))


class Studied:
    """A study with its additive models, of every budget and of all of them."""

    def __init__(self, evidence: Evidence, noise: NoiseLevel | None) -> None:
        self.evidence = evidence
        self.designs = designs_of(evidence)
        self.contrasts = contrasts_of(self.designs, evidence.trials)
        self.seeds = known_noise(noise)
        designed = [design.params for design in self.designs]
        found = parts(evidence.space, designed, [trial.params for trial in evidence.complete])
        names = {part.name for part in found}
        usable = [trial for trial in evidence.complete if names <= trial.params.keys()]
        # A model of n configurations takes n² numbers, for nothing where there is nothing to compare.
        self.configurations = configurations(usable, 1.0 if evidence.maximizes else -1.0) if self.designs else ()
        self.budgets = list(dict.fromkeys(each.budget for each in self.configurations))
        self.model = Model(found, self.budgets)
        self.fit = self.model.fit(self.configurations)
        self._fits = {at: self._fit_at(at) for at in self.budgets} if len(self.budgets) > 1 else {}
        self.spread = self._spread()

    def _fit_at(self, budget: str | None) -> Fit:
        return self.model.fit([each for each in self.configurations if each.budget == budget])

    def _spread(self) -> Spread | None:
        """Return what estimates of the models are judged by: what the models miss is never less than noise."""
        if self.fit.spread is None or self.fit.degrees_of_freedom < LEAST_DEGREES:
            return None
        return self.or_seeds(*self.fit.spread)

    def or_seeds(self, deviation: float, degrees: float) -> Spread:
        """Return a spread around a model, or the noise between seeds where that is larger."""
        if self.seeds is None or self.seeds.standard_deviation <= deviation:
            return Spread(deviation, degrees, Source.RESIDUALS)
        return Spread(self.seeds.standard_deviation, degrees, Source.SEEDS)

    def of(self, params: Params) -> Configuration | None:
        """Return the configuration with these parameters, where it has a score."""
        return next((each for each in self.configurations if each.params == params), None)

    def estimates(self, contrast: Contrast) -> list[Estimate]:
        """Return what can be said about a difference: by the pair, by the model, or nothing."""
        pairs = list(self._by_pair(contrast))
        return pairs if pairs and self.is_misfit else [*pairs, *self._by_model(contrast)]

    @property
    def is_misfit(self) -> bool:
        """Whether the configurations spread more around the model than the noise between seeds explains."""
        return self.seeds is not None and self.spread is not None and exceeds(self.spread, self.seeds)

    def _by_pair(self, contrast: Contrast) -> Iterator[Estimate]:
        sides = [(self.of(a), self.of(b)) for _, a, b in contrast.pairs]
        both = [(a, b) for a, b in sides if a is not None and b is not None]
        # One budget's pair is not all budgets'.
        if len(both) > 1 or (both and len(sides) == 1):
            squares = sum(1 / a.seeds + 1 / b.seeds for a, b in both)
            difference = fmean(a.score - b.score for a, b in both)
            yield Estimate(difference, squares**0.5 / len(both), self.seeds, "pair", 2 * len(both))

    def _by_model(self, contrast: Contrast) -> Iterator[Estimate]:
        fit = self.fit if contrast.budget is None else self._fits.get(contrast.budget, self.fit)
        rows = [self.model.row(a, at) - self.model.row(b, at) for at, a, b in contrast.pairs if at in self.budgets]
        told = [row for row in rows if fit.estimate(row) is not None]
        found = fit.estimate(np.mean(told, axis=0)) if told else None
        if found is not None:
            yield Estimate(*found, self.spread, "model", fit.configurations)

    def effect(self, contrast: Contrast, estimate: Estimate | None, adjusted: float | None, comparisons: int) -> Effect:
        """Return the effect of a contrast."""
        a, b = self._trials([a for _, a, _ in contrast.pairs]), self._trials([b for _, _, b in contrast.pairs])
        half = estimate.half_width(1 - CONFIDENCE) if estimate else None
        difference = estimate.difference if estimate else None
        low, high = estimate.interval if estimate else (None, None)
        detectable = estimate.detectable(FAMILY_ERROR / max(comparisons, 1)) if estimate else None
        verdict = judge(estimate, adjusted, FAMILY_ERROR)
        return Effect(
            study=self.evidence.name,
            name=contrast.name,
            group=contrast.group,
            budget=contrast.budget,
            parameter=contrast.parameter,
            contrast=contrast.text,
            difference=difference,
            low=low,
            high=high,
            n_a=len(a),
            n_b=len(b),
            estimator=estimate.estimator if estimate else None,
            configurations=estimate.configurations if estimate else 0,
            noise=estimate.spread if estimate else None,
            p_value=adjusted,
            detectable=detectable,
            verdict=verdict,
            sentence=_sentence(contrast, verdict, difference, half, detectable, comparisons, (len(a), len(b))),
            trials=tuple(trial.number for trial in (*a, *b)),
        )

    def _trials(self, wanted: Sequence[Params]) -> list[Trial]:
        found = [self.of(params) for params in wanted]
        return [trial for each in found if each is not None for trial in each.trials]

    def notes(self) -> Iterator[str]:
        """Say what noise was used, or why there are no effects."""
        name = self.evidence.name
        if not self.designs:
            yield f"{name} has no designs: effects compare configurations that were chosen for it, and it has none"
            return
        if self.seeds is not None:
            degrees = f"{self.seeds.degrees_of_freedom:g} degrees of freedom"
            yield f"the noise between seeds is {self.seeds.standard_deviation:.3g} ({degrees})"
        if self.fit.spread is not None and self.spread is not None:
            scope = f"an additive model of {len(self.configurations)} configurations"
            yield (
                f"{name}: configurations spread by {self.fit.spread[0]:.3g} around {scope} "
                f"({self.fit.degrees_of_freedom} degrees of freedom), estimated from residuals, which also hold what "
                "the model misses"
            )
        elif self.seeds is None:
            yield (
                f"{name}: no configuration was repeated over seeds, and {len(self.configurations)} with a score are "
                "too few for a spread around a model: no difference can be told from noise"
            )


def _sentence(
    contrast: Contrast,
    verdict: Verdict,
    difference: float | None,
    half: float | None,
    detectable: float | None,
    comparisons: int,
    counts: tuple[int, int],
) -> str:
    if difference is None:
        missing = [word for word, count in zip(("the value", "the default"), counts, strict=True) if not count]
        reason = f"no trial of {' or '.join(missing)} has a score" if missing else "the trials don't tell them apart"
        return f"{contrast.text}: unknown, for {reason}"
    if half is None or verdict is Verdict.UNKNOWN:
        return (
            f"{contrast.text} differs by {around(difference, None)}, and nothing says whether that is noise: "
            "run more trials, or repeat configurations over seeds"
        )
    if difference == half == 0.0:
        return f"{contrast.text} makes no difference: the scores are equal"
    shown = around(difference, half)
    if verdict is not Verdict.BELOW_THE_NOISE:
        told = f"{contrast.words[0]} is {verdict.value} than {contrast.words[1]}{contrast.where}"
        return f"{told} by {shown.lstrip('+-')}"
    told = f"{contrast.text} differs by {shown}: below the noise"
    if abs(difference) > half:
        told += f" (alone it would not be, but {comparisons} differences were looked at)"
    return told if detectable is None else f"{told}; {detectable:.2g} would have been seen"
