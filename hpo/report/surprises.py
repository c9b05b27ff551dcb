"""Which designs scored otherwise than the rest of the study says, each against the noise.

What is expected of a design is what an additive model of all other configurations predicts for it. Where these don't
tell (a value that nothing else has come near), it is the score of the default that it differs from in one parameter.

A surprise of one trial is a reason to repeat it over seeds, not a finding: noise of heavy tails throws single trials
far off too, and no single trial shows which it is.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from hpo.report.additive import Configuration
from hpo.report.contrasts import Design
from hpo.report.effects import Studied
from hpo.report.evidence import Evidence
from hpo.report.significance import (
    CONFIDENCE,
    LEAST_DEGREES,
    Estimate,
    NoiseLevel,
    Verdict,
    around,
    holm,
    judge,
)

FAMILY_ERROR: Final = 0.005
"""How often a report on nothing but noise may call any design surprising."""


@dataclass(frozen=True)
class Surprise:
    """A design's score against what was expected of it.

    Attributes:
        study: that it was run in.
        name: of the design.
        score: the mean over its seeds, in the study's direction; None where it has none.
        expected: in the study's direction too.
        difference: positive for better than expected.
        low: the lower end of its 95 % interval.
        high: the upper end.
        standardized: the difference in standard errors, by which surprises are ranked.
        estimator: `model` of the others, or `default`.
        p_value: with all designs of the report considered.
        trials: the numbers of its trials.
    """

    study: str
    name: str
    group: str
    budget: str | None
    score: float | None
    expected: float | None
    difference: float | None
    low: float | None
    high: float | None
    standardized: float | None
    estimator: str | None
    p_value: float | None
    verdict: Verdict
    sentence: str
    trials: tuple[int, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def surprises(evidence: Evidence, noise: NoiseLevel | None) -> tuple[Surprise, ...]:
    """Return the designs of a study and of its supplements, the most surprising first.

    Args:
        evidence: of a study with its supplements; one without designs has no surprises.
        noise: between seeds, of one trial; None where it is unknown.
    """
    studied = [Studied(each, noise) for each in (evidence, *evidence.supplements)]
    asked = [(each, design, *_expectation(each, design)) for each in studied for design in each.designs]
    adjusted = holm([None if estimate is None else estimate.p_value for _, _, _, estimate in asked])
    found = [_surprise(*each, p_value) for each, p_value in zip(asked, adjusted, strict=True)]
    return tuple(sorted(found, key=lambda each: -abs(each.standardized or 0.0)))


def _expectation(studied: Studied, design: Design) -> tuple[Configuration | None, Estimate | None]:
    """Return what was run of a design, and how it differs from what was expected."""
    own = studied.of(design.params)
    if own is None:
        return None, None
    return own, next((each for each in (_by_model(studied, own), *_by_default(studied, design)) if each), None)


def _by_model(studied: Studied, own: Configuration) -> Estimate | None:
    told = studied.fit.left_out(studied.configurations.index(own))
    if told is None or studied.fit.degrees_of_freedom - 1 < LEAST_DEGREES:
        return None
    difference, error, spread = told
    return Estimate(difference, error, studied.or_seeds(*spread), "model", len(studied.configurations))


def _by_default(studied: Studied, design: Design) -> Iterator[Estimate]:
    for contrast in studied.contrasts:
        if contrast.name == design.name and contrast.budget == design.budget:
            pairs = (each for each in studied.estimates(contrast) if each.estimator == "pair")
            for estimate in pairs:
                known = estimate.spread or studied.spread
                yield replace(estimate, spread=known, estimator="default")


def _surprise(
    studied: Studied, design: Design, own: Configuration | None, estimate: Estimate | None, adjusted: float | None
) -> Surprise:
    sign = 1.0 if studied.evidence.maximizes else -1.0
    difference = estimate.difference if estimate else None
    low, high = estimate.interval if estimate else (None, None)
    verdict = judge(estimate, adjusted, FAMILY_ERROR)
    return Surprise(
        study=studied.evidence.name,
        name=design.name,
        group=design.group,
        budget=design.budget,
        score=sign * own.score if own else None,
        expected=sign * (own.score - difference) if own and difference is not None else None,
        difference=difference,
        low=low,
        high=high,
        standardized=estimate.standardized if estimate else None,
        estimator=estimate.estimator if estimate else None,
        p_value=adjusted,
        verdict=verdict,
        sentence=_sentence(design, own, estimate, verdict),
        trials=tuple(trial.number for trial in own.trials) if own else (),
    )


def _sentence(design: Design, own: Configuration | None, estimate: Estimate | None, verdict: Verdict) -> str:
    if own is None:
        return f"{design.name}: no trial of it has a score"
    if estimate is None:
        return f"{design.name}: nothing says what was to be expected of it"
    against = {"model": "what all other configurations predict", "default": "its default"}[estimate.estimator]
    half = estimate.half_width(1 - CONFIDENCE)
    shown = around(estimate.difference, half)
    if estimate.difference == half == 0.0:
        return f"{design.name} doesn't differ from {against}"
    if half is None or verdict is Verdict.UNKNOWN:
        return f"{design.name} differs from {against} by {shown}, and nothing says whether that is noise"
    if verdict is Verdict.BELOW_THE_NOISE:
        return f"{design.name} differs from {against} by {shown}: below the noise"
    told = f"{design.name} surprises: {verdict.value} than {against} by {shown.lstrip('+-')}"
    return told if own.seeds > 1 else f"{told}; repeat it over seeds before believing it"
