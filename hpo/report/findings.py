"""All that is found out about a study, put together: what the page, the Markdown and the JSON say."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import Any

import numpy as np

from hpo.instability import BatchSwing, Unstable, unstable
from hpo.records import Cause
from hpo.report.effects import EffectFindings, effects
from hpo.report.evidence import Evidence, Trial
from hpo.report.importances import Importance, importances
from hpo.report.limits import Limit, limits
from hpo.report.noise import Noise, noise_floor
from hpo.report.rate_against_size import RateFindings, SizeRates, analyse_rates
from hpo.report.readings import FinalReading
from hpo.report.repetition import Repeats, find_repeats
from hpo.report.scaling import analyse_sizes
from hpo.report.size_findings import SizeFindings, SizeScores
from hpo.report.size_groups import EXACT_SIZES, format_size, group_points
from hpo.report.surprises import Surprise, surprises
from hpo.report.top import TopTrial, top_trials


@dataclass(frozen=True)
class Findings:
    """What a study has shown.

    Attributes:
        noise: between seeds; None where no configuration was repeated.
        sizes: the score against parameters, of Phase 1 alone: Phase 2 gave some budgets more trials, and others none.
        costs: the score against training FLOPs; None where those are unknown.
        losses: the log loss against parameters; None where it is unknown.
        rates: the best learning rate against size; None in studies without one.
    """

    evidence: Evidence
    noise: Noise | None
    sizes: SizeFindings
    costs: SizeFindings | None
    losses: SizeFindings | None
    rates: RateFindings | None
    effects: EffectFindings
    surprises: tuple[Surprise, ...]
    importances: tuple[Importance, ...]
    repeats: Repeats
    limits: tuple[Limit, ...]
    top: tuple[TopTrial, ...]
    unstable: tuple[Unstable, ...]
    test_reading: FinalReading | None = None

    @property
    def study(self) -> str:
        """Its name."""
        return self.evidence.name

    @cached_property
    def failures(self) -> dict[str, int]:
        """How many attempts ended badly, by cause; those that were interrupted through no fault of their own don't."""
        bad = [trial for trial in self.evidence.all_trials if trial.state in {"failed", "replaced"}]
        causes = Counter(str(trial.attributes.get("cause", "unknown")) for trial in bad)
        del causes[Cause.INTERRUPTED.value]
        return dict(causes.most_common())

    @property
    def baseline(self) -> Mapping[str, Any] | None:
        """What a search on prices has to beat, with its interval."""
        record = self.evidence.record
        found: Mapping[str, Any] | None = record.prepared.get("sizes", {}).get("baseline") if record else None
        return found

    def as_json(self) -> dict[str, Any]:
        """Return the numbers; `hpo.report.summary` has the words."""
        record = self.evidence.record
        return {
            "study": self.study,
            "phase": record.phase if record else None,
            "state": record.state.value if record else None,
            "reason": record.reason if record else None,
            "evidence": dict(record.evidence) if record else None,
            "direction": self.evidence.direction,
            "score_name": self.evidence.score_name,
            "trials": dict(Counter(trial.state for trial in self.evidence.all_trials)),
            "failures": self.failures,
            "baseline": self.baseline,
            "noise": self.noise and self.noise.as_json(),
            "scaling": {
                "parameters": self.sizes.as_json(),
                "flops": self.costs and self.costs.as_json(),
                "log_loss": self.losses and self.losses.as_json(),
                "learning_rate": self.rates and self.rates.as_json(),
            },
            **self.effects.as_json(),
            "surprises": [each.as_json() for each in self.surprises],
            "importances": [each.as_json() for each in self.importances],
            "repeats": {"complete": self.repeats.complete, "distinct": self.repeats.distinct}
            | {"duplicates": self.repeats.duplicates},
            "unstable": [each.swing.number for each in self.unstable],
            "top": [each.as_json() for each in self.top],
            "limits": [{"about": each.about, "sentence": each.sentence} for each in self.limits],
            "test_part": self.test_reading and self.test_reading.as_json(),
        }


def findings(evidence: Evidence, test_reading: FinalReading | None = None) -> Findings:
    """Return what a study's evidence says, Phase 2 included.

    Args:
        evidence: of one study, with its supplements.
        test_reading: what the test part has said, where it was read.
    """
    noise, maximizes = noise_floor(evidence.all_trials), evidence.maximizes
    deviation = noise.standard_deviation if noise else None
    flops, losses = _by_size(evidence, "flops", "score"), _by_size(evidence, None, "log_loss")
    return Findings(
        evidence=evidence,
        noise=noise,
        sizes=analyse_sizes(_by_size(evidence, None, "score"), maximizes=maximizes, noise=deviation),
        costs=analyse_sizes(flops, maximizes=maximizes, noise=deviation, size_name="FLOP") if flops else None,
        losses=analyse_sizes(losses, maximizes=False, noise=_noise_of(evidence, "log_loss")) if losses else None,
        rates=_rates(evidence),
        effects=effects(evidence, noise),
        surprises=surprises(evidence, noise),
        importances=importances(evidence),
        repeats=find_repeats(evidence.all_trials),
        limits=limits(evidence),
        top=top_trials(evidence),
        unstable=_unstable(evidence),
        test_reading=test_reading,
    )


@dataclass(frozen=True)
class _Configuration:
    """A configuration of Phase 1, its seeds averaged."""

    trial: Trial
    size: float
    value: float


def _configurations(evidence: Evidence, size: str | None, value: str) -> list[_Configuration]:
    """Return the configurations with a size and a value; `size` None is the trial's own."""
    groups: dict[object, list[Trial]] = {}
    for trial in evidence.complete:
        groups.setdefault(trial.configuration, []).append(trial)
    found = []
    for trials in groups.values():
        first = trials[0]
        at = first.size if size is None else first.number_of(size)
        values = [trial.score if value == "score" else trial.number_of(value) for trial in trials]
        known = [each for each in values if each is not None]
        if at is not None and at > 0 and known:
            found.append(_Configuration(first, at, fmean(known)))
    return found


def _by_size(evidence: Evidence, size: str | None, value: str) -> Sequence[SizeScores]:
    """Return the values by budget, at the geometric mean of its sizes; by size where there are no budgets."""
    found = _configurations(evidence, size, value)
    if not all(each.trial.budget for each in found):
        return group_points([each.size for each in found], [each.value for each in found])
    budgets = dict.fromkeys(str(each.trial.budget) for each in found)
    return [
        SizeScores(_middle([each.size for each in own]), budget, tuple(each.value for each in own))
        for budget in budgets
        if (own := [each for each in found if each.trial.budget == budget])
    ]


def _middle(sizes: Sequence[float]) -> float:
    # Of distinct sizes: trials that were sampled more often would pull the budget towards their shape.
    return float(np.exp(np.mean(np.log(sorted(set(sizes))))))


def _noise_of(evidence: Evidence, value: str) -> float | None:
    """Return the noise between seeds of another value than the score."""
    trials = [replace(trial, score=trial.number_of(value)) for trial in evidence.all_trials]
    found = noise_floor(trials)
    return found.standard_deviation if found else None


def _rates(evidence: Evidence) -> RateFindings | None:
    """Return the best learning rate by budget, or by size where there are a few; None where neither can be told."""
    if "learning_rate" not in evidence.space:
        return None
    found = _configurations(evidence, None, "score")
    by_budget = all(each.trial.budget for each in found)
    groups: dict[str, list[_Configuration]] = {}
    for each in found:
        groups.setdefault(str(each.trial.budget) if by_budget else format_size(each.size), []).append(each)
    if not by_budget and len(groups) > EXACT_SIZES:
        return None
    observed = []
    for label, own in groups.items():
        rates = tuple(each.trial.number_of("learning_rate") or 0.0 for each in own)
        observed.append(SizeRates(_middle([each.size for each in own]), label, rates, tuple(e.value for e in own)))
    return analyse_rates(observed, maximizes=evidence.maximizes)


def _unstable(evidence: Evidence) -> tuple[Unstable, ...]:
    swings = [
        BatchSwing(trial.number, str(trial.value("batch_metric")), int(batch), deviation)
        for trial in evidence.complete
        if (deviation := trial.number_of("batch_metric_std")) is not None
        and (batch := trial.number_of("effective_batch")) is not None
    ]
    return tuple(unstable(swings))
