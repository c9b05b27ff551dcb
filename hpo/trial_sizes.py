"""What the trials of studies need, budget by budget: estimated, and measured where trials have finished."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

from budgets import STYLES
from budgets.memory import CARD_HOST_BYTES, MIB, Calibration, MemoryEstimate, Peak
from budgets.placement import Demand
from hpo.control import Control
from hpo.records import StudyRecord, TrialRecord, TrialState
from studies.batches import batch_plan
from studies.declaration import Derived, derive
from studies.memory import measured_peaks, stored_estimate
from studies.spec import Spec

# Of a trial whose footprint nobody has counted: the process with data and a small batch, and weights, gradients, two
# moments and the workspace of the largest layer.
_UNCOUNTED_BYTES, _UNCOUNTED_BYTES_A_PARAMETER = 600 * MIB, 20


@dataclass(frozen=True)
class Search:
    """A study to plan for.

    Attributes:
        spec: its specification.
        prepared: what is known of its data and models, as it is stored.
        left: slots of its cap that no trial has yet.
        trials: that it has.
    """

    spec: Spec
    prepared: Mapping[str, Any]
    left: int
    trials: Sequence[TrialRecord] = ()

    def models(self, budget: str) -> list[dict[str, Any]]:
        """Return the values of every model of a budget at the largest effective batch that is searched."""
        rules = tuple(Derived(**rule) for rule in self.prepared.get("derived", ()))
        if self.spec.supplementary is None:
            chosen: list[dict[str, Any]] = [{"budget": budget, "style": style} for style in STYLES]
        else:
            (low, high), largest = self.spec.ranges.n_heads, max(self.spec.ranges.effective_batch).bit_length() - 1
            powers = range(low.bit_length() - 1, high.bit_length())
            chosen = [{"n_heads_log2": power, "effective_batch_log2": largest} for power in powers]
        return [values for each in chosen if "shape" in (values := derive(each, rules))]

    @property
    def ended(self) -> list[TrialRecord]:
        """Trials that came to their own end."""
        return [trial for trial in self.trials if trial.state in {TrialState.COMPLETE, TrialState.PRUNED}]

    def open_trials(self, budget: str) -> float:
        """Return how many trials of a budget are expected: those that wait or run, and its share of the free slots."""
        waiting = [t for t in self.trials if t.state in {TrialState.WAITING, TrialState.RUNNING} and _of(t, budget)]
        return len(waiting) + max(0, self.left) / len(self.spec.budgets)


@dataclass(frozen=True)
class TrialSize:
    """The trials of one budget.

    Attributes:
        demand: of the hungriest of them.
        micro_batch: windows a forward pass.
        estimate: of that trial on the CPU; None where its model was never counted.
        ended: how many trials have ended, from which durations were measured.
    """

    demand: Demand
    micro_batch: int
    estimate: MemoryEstimate | None
    ended: int

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        parts = None if self.estimate is None else {**self.estimate.as_json(), "total": self.estimate.total}
        return {**asdict(self.demand), "micro_batch": self.micro_batch, "estimate": parts, "ended": self.ended}


def searches_of(control: Control, studies: Sequence[StudyRecord]) -> list[Search]:
    """Return studies with their trials, to plan for."""
    return [
        Search(
            Spec.model_validate(study.spec),
            study.prepared,
            study.cap - control.counts(study.name).used,
            control.trials(study.name),
        )
        for study in studies
    ]


def trial_sizes(
    searches: Sequence[Search],
    calibration: Calibration,
    *,
    on_cards: bool = False,
    card_bytes: Mapping[str, int] | None = None,
) -> tuple[TrialSize, ...]:
    """Return every budget of the studies once, the hungriest first.

    Args:
        searches: the studies.
        calibration: the constant of a trial's process.
        on_cards: whether trials train on a GPU of this machine.
        card_bytes: measured there, by budget, in place of the estimates.
    """
    found: dict[str, TrialSize] = {}
    for search in searches:
        for size in _sizes_of(search, calibration):
            on_card = (card_bytes or {}).get(size.demand.name)
            shown = _moved_to_card(size, search, on_card) if on_cards else size
            known = found.get(size.demand.name)
            found[size.demand.name] = shown if known is None else _both(known, shown)
    return tuple(sorted(found.values(), key=lambda size: size.demand.ram_bytes + size.demand.card_bytes, reverse=True))


def peaks_of(searches: Sequence[Search]) -> list[Peak]:
    """Return the measured peaks of complete trials beside their estimates."""
    found: list[Peak] = []
    for search in searches:
        complete = [trial.attributes for trial in search.ended if trial.state is TrialState.COMPLETE]
        found += measured_peaks(search.prepared.get("sizes", {}), complete)
    return found


def _sizes_of(search: Search, calibration: Calibration) -> Iterator[TrialSize]:
    core_seconds = _core_seconds(search)
    for budget in search.spec.budgets:
        micro_batch, estimate = _hungriest(search, budget, calibration)
        ram = _uncounted(search, budget) if estimate is None else estimate.total
        demand = Demand(budget, search.open_trials(budget), ram, core_seconds=core_seconds.get(budget))
        ended = sum(_of(trial, budget) for trial in search.ended)
        yield TrialSize(demand, micro_batch, estimate, ended)


def _moved_to_card(size: TrialSize, search: Search, measured: int | None) -> TrialSize:
    """Return the size of trials that train on a GPU, with what they leave in RAM as measured, else as recorded."""
    own = _own_peaks(search, size.demand.name)
    ram = round(median(own)) if own else CARD_HOST_BYTES
    estimated = size.demand.ram_bytes if size.estimate is None else size.estimate.on_card
    on_card = estimated if measured is None else measured
    return replace(size, demand=replace(size.demand, ram_bytes=ram, card_bytes=on_card))


def _both(one: TrialSize, other: TrialSize) -> TrialSize:
    """Return one budget as two studies have it: the needs of the hungrier trial, the trials of both."""
    hungry, lean = sorted((one, other), key=lambda size: size.demand.ram_bytes, reverse=True)
    demand = replace(
        hungry.demand,
        trials=one.demand.trials + other.demand.trials,
        card_bytes=max(one.demand.card_bytes, other.demand.card_bytes),
        core_seconds=hungry.demand.core_seconds or lean.demand.core_seconds,
    )
    return replace(hungry, demand=demand, ended=one.ended + other.ended)


def _hungriest(search: Search, budget: str, calibration: Calibration) -> tuple[int, MemoryEstimate | None]:
    """Return micro-batch and memory of the hungriest trial of a budget; None where its models were never counted."""
    sizes, training, found = search.prepared.get("sizes", {}), search.spec.training, []
    for values in search.models(budget):
        plan = batch_plan(values, training)
        estimate = stored_estimate(sizes, values, plan, calibration.process_bytes)
        if estimate is not None:
            found.append((plan.micro, estimate))
    return max(found, key=lambda each: each[1].total, default=(batch_plan({}, training).micro, None))


def _uncounted(search: Search, budget: str) -> int:
    """Return the RAM of a trial whose model was never counted: the most that was measured, else a rule of thumb."""
    own = _own_peaks(search, budget)
    if own:
        return max(own)
    rules = [rule["values"] for rule in search.prepared.get("derived", ()) if rule["when"].get("budget") == budget]
    counts = [values.get("exact_params") or 0 for values in rules]
    return _UNCOUNTED_BYTES + _UNCOUNTED_BYTES_A_PARAMETER * max(counts, default=0)


def _own_peaks(search: Search, budget: str) -> list[int]:
    """Return the measured peaks of a budget's trials beyond what their processes began with, in bytes."""
    found = [trial.attributes for trial in search.ended if _of(trial, budget)]
    pairs = [(each.get("start_memory_mb"), each.get("peak_memory_mb")) for each in found]
    return [max(0, round((peak - start) * MIB)) for start, peak in pairs if start is not None and peak is not None]


def _core_seconds(search: Search) -> dict[str, float]:
    """Return threads times seconds of a trial by budget: measured, or by its operations where none has ended."""
    taken: dict[str, list[float]] = {}
    for trial in search.ended:
        seconds, threads = trial.attributes.get("trial_seconds"), trial.attributes.get("threads", 1)
        if seconds is not None and not trial.attributes.get("resumed_from_step"):
            taken.setdefault(_budget(trial), []).append(seconds * threads)
    measured = {budget: sum(values) / len(values) for budget, values in taken.items()}
    flops = _flops(search)
    known = [budget for budget in measured if flops.get(budget)]
    if not known:
        return measured
    a_flop = sum(measured[budget] for budget in known) / sum(flops[budget] for budget in known)
    return {budget: amount * a_flop for budget, amount in flops.items()} | measured


def _flops(search: Search) -> dict[str, float]:
    amounts: dict[str, list[float]] = {}
    for rule in search.prepared.get("derived", ()):
        if "flops" in rule["values"] and "budget" in rule["when"]:
            amounts.setdefault(rule["when"]["budget"], []).append(rule["values"]["flops"])
    return {budget: sum(values) / len(values) for budget, values in amounts.items()}


def _of(trial: TrialRecord, budget: str) -> bool:
    return _budget(trial) == budget


def _budget(trial: TrialRecord) -> str:
    return str(trial.params.get("budget", trial.attributes.get("budget")))
