"""The rules of the preflight, each with its table and its source: `hpo check --explain RULE` and docs/rules.md."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from budgets import MetricKind, format_budget
from budgets.batch_rules import RATIO_TABLE, SHARPE_SPREADS, square_root_batch
from budgets.metric_kinds import METRIC_KINDS
from studies.preflight.learning_rates import FAR, suggested_learning_rate
from studies.sections import REGRESSION_LOSSES

_NOTE = 'the research note "Tier 2 Failure Analysis: Model Capacity Scaling" of 2025-10-21'
_HERE = "this project"


@dataclass(frozen=True)
class Rule:
    """What is asked for, and why.

    Attributes:
        name: stable; in JSON, in the docs and for `--explain`.
        says: the rule in one sentence.
        why: what happened, or what follows, where it was broken.
        source: who says so.
        columns: of the table; empty where the rule has none.
        rows: of the table.
    """

    name: str
    says: str
    why: str
    source: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()

    def markdown(self) -> str:
        """Return the rule as a section of docs/rules.md."""
        lines = [f"## {self.name}", "", self.says, "", self.why, ""]
        if self.columns:
            lines += [_line(self.columns), _line(["---"] * len(self.columns)), *map(_line, self.rows), ""]
        return "\n".join([*lines, f"Source: {self.source}."])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _batch_rows() -> tuple[tuple[str, ...], ...]:
    below, rows = "0", []
    for row in RATIO_TABLE:
        until = "and more" if row.below is None else f"to {format_budget(row.below)}"
        low, high = row.optimum
        rows.append((f"{below} {until}", f"{row.minimum}", f"{low} to {high}"))
        below = "" if row.below is None else format_budget(row.below)
    return tuple(rows)


def _kinds(kind: MetricKind) -> str:
    return ", ".join(name for name, its in METRIC_KINDS.items() if its is kind)


_SIZES = (750_000, 2_000_000, 5_600_000, 20_000_000, 200_000_000)

_ALL = (
    Rule(
        "loss-metric",
        "The loss fits the metric: a classifier is trained with a classification loss, a regression with another.",
        "Models that were trained as regressors on returns and scored as classifiers had an AUC of 0.62 and a recall "
        "of 0.",
        "six recorded searches of PatchTST on daily prices of SPY, 50 trials each",
        ("metrics", "losses"),
        (
            (f"{_kinds(MetricKind.RANKING)}, {_kinds(MetricKind.LIKELIHOOD)}", "bernoulli, weighted, focal"),
            (_kinds(MetricKind.REGRESSION), ", ".join(sorted(REGRESSION_LOSSES))),
            (f"{_kinds(MetricKind.RATIO)}, score", "any"),
        ),
    ),
    Rule(
        "batch-minimum",
        "A ratio metric, such as Sharpe, takes at least so many windows an optimizer step.",
        "A ratio is a mean over a spread: of few windows it is noisy and biased, and more steps do not mend the bias. "
        + " ".join(f"Batch-level Sharpe was {s.low} to {s.high} with batches of {s.batch}." for s in SHARPE_SPREADS),
        f"{_NOTE}, its table of batch sizes",
        ("parameters", "minimum", "optimum"),
        _batch_rows(),
    ),
    Rule(
        "batch-root",
        "For a ratio metric the effective batch reaches the square root of the parameters.",
        "The note writes its rule as 10 times that, and computes without the 10 in both of its examples (5.6M and "
        "20M); the examples stand. Details: docs/batching.md.",
        f"{_NOTE}, its worked examples",
        ("parameters", "square root", "as written, 10 times"),
        tuple((format_budget(n), f"{square_root_batch(n):,}", f"{round(10 * n**0.5):,}") for n in _SIZES),
    ),
    Rule(
        "batch-shrunk",
        "When the model grows against its baseline, the effective batch does not shrink.",
        "A safe mode set the batch from 1024 to 256 without a word while the hidden size went from 64 to 256: Sharpe "
        "fell from 0.779 to 0.095, and the night was lost. Memory asks for a smaller micro-batch, never for a smaller "
        "effective one: accumulation makes up for it.",
        _NOTE,
    ),
    Rule(
        "one-variable",
        "One variable changes against the baseline: of two, nobody knows which one made the difference.",
        "The failed experiment changed size, batch and data workers at once. Width, depth, heads and family are one "
        "variable, the size.",
        _NOTE,
        ("kind", "what"),
        (
            ("size", "model, architectures, budgets"),
            ("hyperparameter", "everything else in training, the target, the data and the parameters of a trial"),
            (
                "how it runs, harmless",
                "mode, data workers, micro-batch, gradient checkpointing, checkpoints, alerts, name",
            ),
            ("search, harmless", "trials, early stopping, pruning, Phase 2 ranges, attempts"),
        ),
    ),
    Rule(
        "accumulation",
        "The micro-batch divides the effective batch.",
        "Accumulation is effective batch / (micro-batch x world size), and a part of a step can't be run. Where "
        "Phase 2 searches the batch, the greatest common divisor of both is run.",
        f"{_HERE}, docs/batching.md",
    ),
    Rule(
        "learning-rate",
        f"The learning rate is within a factor of {FAR:g} of what the size suggests, and a range reaches to within 3.",
        "Larger models want smaller rates. The law was fitted to language models with large batches, so only an order "
        "of magnitude and a half off is a finding; the forced extremes of Phase 1 are meant to be off.",
        "Kaplan et al. 2020, equation D.1: 0.003239 - 0.0001395 ln(parameters)",
        ("parameters", "suggested rate"),
        tuple((format_budget(n), f"{suggested_learning_rate(n):.2g}") for n in _SIZES),
    ),
    Rule(
        "data",
        "The data can be read, and holds the window and the parts for training, validation and test.",
        "A window longer than the history leaves no decision to learn from.",
        f"{_HERE}, studies/data",
    ),
    Rule(
        "memory",
        "A trial fits the memory: HPO_TRIAL_MEMORY_MB, or 80 % of the RAM that is free, or of the smallest GPU.",
        "Nine workers of 850 MB filled a card of 8.2 GB to 93 % and were tuned by killing process ids. A trial that "
        "does not fit runs again with half the micro-batch; one that does not fit with a single window is infeasible.",
        f"{_HERE}, docs/memory.md",
    ),
    Rule(
        "hours",
        "The whole search takes less than a week of one machine.",
        "The estimate is a lower bound: the operations of all trials, with every step, at the speed of a plain matrix "
        "product measured just now.",
        f"{_HERE}; operations by Kaplan et al. 2020, table 1",
    ),
)

RULES: Final = MappingProxyType({rule.name: rule for rule in _ALL})
"""Every rule by its name."""
