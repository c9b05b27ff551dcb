"""The best trials with all that it takes to run one again."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpo.report.charts.style import short, shown
from hpo.report.contenders import Contender, contenders
from hpo.report.evidence import Evidence, Trial

_SHOWN = 10
# Of the attributes, what says how a trial was run; the others are results.
_HOW = (
    *("budget", "style", "d_model", "n_layers", "n_heads", "d_ff", "dropout"),
    *("effective_batch", "micro_batch", "accumulation", "precision", "threads"),
    *("estimated_params", "exact_params", "flops", "steps", "best_step", "fingerprint", "design_id", "design"),
)
_RESULTS = (
    *("auc_low", "auc_high", "log_loss", "brier", "average_precision", "base_rate", "recall_at_base_rate"),
    *("precision_at_base_rate", "prediction_min", "prediction_max", "collapsed", "last_auc"),
)


@dataclass(frozen=True)
class TopTrial:
    """One of the best."""

    rank: int
    contender: Contender

    @property
    def trial(self) -> Trial:
        """The first trial of the configuration."""
        return self.contender.first

    @property
    def name(self) -> str:
        """Return such as `1. trial 19 of quickstart, 2M_shallow`."""
        return f"{self.rank}. trial {self.trial.number} of {self.trial.study}, {self.trial.label}"

    def as_json(self) -> dict[str, Any]:
        """Return all that is known of it and of use."""
        trial, attributes = self.trial, self.trial.attributes
        return {
            "rank": self.rank,
            "study": trial.study,
            "number": trial.number,
            "label": trial.label,
            "kind": trial.kind.value,
            "score": self.contender.score,
            "scores": {str(each.seed): each.score for each in self.contender.trials},
            "trials": [each.number for each in self.contender.trials],
            "seed": trial.seed,
            "params": dict(trial.params),
            "derived": {name: attributes[name] for name in _HOW if name in attributes and name not in trial.params},
            "results": {name: attributes[name] for name in _RESULTS if name in attributes},
            "seconds": trial.seconds,
            "peak_memory_mb": attributes.get("peak_memory_mb"),
        }

    @property
    def as_text(self) -> str:
        """The same, indented."""
        return json.dumps(finite(self.as_json()), indent=1, ensure_ascii=False, allow_nan=False)

    def cells(self, columns: Sequence[str]) -> list[str]:
        """Return what stands in these columns."""
        return [self._cell(name) for name in columns]

    def _cell(self, name: str) -> str:
        trial = self.trial
        fixed = {
            "#": str(trial.number),
            "configuration": trial.label + (" (collapsed)" if trial.attributes.get("collapsed") else ""),
            "study": trial.study,
            "score": shown(self.contender.score),
            "95 %": _interval(self.contender),
            "seed": ", ".join("–" if each.seed is None else str(each.seed) for each in self.contender.trials),
            "parameters": short(trial.size) if trial.size else "–",
            "seconds": f"{trial.seconds:.0f}" if trial.seconds is not None else "–",
        }
        if name in fixed:
            return fixed[name]
        value = trial.value(name)
        return "–" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def top_trials(evidence: Evidence) -> tuple[TopTrial, ...]:
    """Return the best configurations of the study and of Phase 2 by the mean over their seeds, the best first."""
    return tuple(TopTrial(rank, each) for rank, each in enumerate(contenders(evidence)[:_SHOWN], 1))


def top_columns(top: Sequence[TopTrial]) -> list[str]:
    """Return the columns that say anything of these trials."""
    searched = dict.fromkeys(name for each in top for name in each.trial.params)
    # Phase 2 searches logarithms; what they stand for is among the attributes.
    named = {name: name.removesuffix("_log2") for name in searched}
    known = {name for each in top for name in each.trial.attributes}
    names = dict.fromkeys(meant if meant in known else name for name, meant in named.items())
    several = ["study"] if len({each.trial.study for each in top}) > 1 else []
    interval = ["95 %"] if any(each.contender.interval for each in top) else []
    size = ["parameters"] if any(each.trial.size for each in top) else []
    skipped = {"budget", "style"} if all("shape" in each.trial.attributes for each in top) else set()
    kept = [name for name in names if name not in skipped]
    return ["#", "configuration", *several, "score", *interval, *kept, *size, "seed", "seconds"]


def _interval(contender: Contender) -> str:
    ends = contender.interval
    return "–" if ends is None else f"{ends[0]:.3f}–{ends[1]:.3f}"


def finite(value: Any) -> Any:  # noqa: ANN401  any JSON value
    """Return a value without NaN and infinities, which JSON does not have."""
    if isinstance(value, Mapping):
        return {str(key): finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
