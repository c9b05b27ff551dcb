"""The memory of a study's trials: footprints are counted while a study is prepared and stored with it.

Whoever plans afterwards, a fleet or a worker, needs no torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from budgets import STYLES, Architecture, BatchPlan
from budgets.memory import MIB, PROCESS_BYTES, Footprint, MemoryEstimate, Peak, estimate_memory
from studies.batches import batch_plan, batch_values
from studies.declaration import Derived, Prepared, derive
from studies.families import WindowShape
from studies.spec import Spec

MOST_WINDOWS_ON_A_CPU: Final = 16
"""More windows at once are hardly faster there: two parts of 16 take 0.9 to 1.08 of a step of 32
(`benchmarks/micro_batch.py`), a look takes the same, and each window less saves 1.8 to 2.9 MB at 750k."""

_BYTES_A_VALUE: Final = 4
_NEEDED: Final = frozenset({"start_memory_mb", "peak_memory_mb", "micro_batch", "effective_batch"})


@dataclass(frozen=True)
class Allowance:
    """What one trial may have here.

    Attributes:
        limit_mb: of resident memory, or of a card's, in MiB.
        limit_is: where the limit comes from, in words.
        start_mb: what the process of a trial begins with, in MiB.
        most_mb: the limit when nothing else is on the machine; None: the same.
        on_card: whether the limit is that of a card.
        most_windows: of a forward pass beyond which nothing is gained here; None: the more, the faster.
    """

    limit_mb: float
    limit_is: str
    start_mb: float = 0.0
    on_card: bool = False
    most_mb: float | None = None
    most_windows: int | None = None

    def needed_mb(self, estimate: MemoryEstimate) -> float:
        """Return what a trial needs of it."""
        return estimate.on_card / MIB if self.on_card else self.start_mb + estimate.total / MIB

    def could_hold(self, estimate: MemoryEstimate) -> bool:
        """Return whether a trial would fit with nothing else on the machine."""
        return self.needed_mb(estimate) <= max(self.limit_mb, self.most_mb or 0.0)

    def holds(self, estimate: MemoryEstimate) -> bool:
        """Return whether a trial fits."""
        return self.needed_mb(estimate) <= self.limit_mb


def trial_memory(
    spec: Spec,
    architecture: Architecture,
    shape: WindowShape,
    plan: BatchPlan,
    *,
    data_bytes: int = 0,
    process_bytes: int = PROCESS_BYTES,
) -> MemoryEstimate:
    """Return the memory of one trial, counted on its module; takes torch, and a few tenths of a second.

    Args:
        spec: of the study: family, precision, gradient checkpointing.
        architecture: of the trial.
        shape: of its windows.
        plan: of its batch.
        data_bytes: of the panel that it reads.
        process_bytes: what its process takes by itself; see `budgets.memory.calibrate`.
    """
    return estimate_memory(
        _counted(spec, architecture, shape),
        plan.micro,
        accumulation=plan.accumulation,
        data_bytes=data_bytes,
        process_bytes=process_bytes,
    )


def count_footprints(spec: Spec, shape: WindowShape) -> dict[str, Any]:
    """Return the footprints of all models that a study can propose, as JSON types, for `Prepared.sizes`.

    Keys are names of shapes, such as `2M_deep`. Phase 2, which searches the heads of one shape, also has a key for
    every number of them, such as `2M_deep_heads_4`, and under the plain one the hungriest.

    Takes torch, and a few tenths of a second a model.
    """
    fixed = spec.supplementary
    if fixed is None:
        pairs = [(budget, style) for budget in spec.budgets for style in STYLES]
        return {f"{b}_{s}": _counted(spec, spec.architecture(b, s), shape).as_json() for b, s in pairs}
    name = f"{spec.budgets[0]}_{fixed.style}"
    own = spec.architecture(spec.budgets[0], fixed.style)
    low, high = spec.ranges.n_heads
    heads = [low << power for power in range((high // low).bit_length())]
    found = {each: _counted(spec, replace(own, n_heads=each), shape) for each in heads}
    hungriest = max(found.values(), key=lambda each: each.bytes_a_window)
    return {name: hungriest.as_json()} | {f"{name}_heads_{each}": found[each].as_json() for each in heads}


def panel_bytes(rows: int, shape: WindowShape) -> int:
    """Return the bytes of a panel: features and the label, 32 bits each."""
    return rows * shape.n_series * (shape.n_features + 1) * _BYTES_A_VALUE


def stored_estimate(
    sizes: Mapping[str, Any], values: Mapping[str, Any], plan: BatchPlan, process_bytes: int = PROCESS_BYTES
) -> MemoryEstimate | None:
    """Return the memory of a trial from what was stored with its study; None for one prepared without footprints.

    Args:
        sizes: `Prepared.sizes` of the study.
        values: derived values or attributes of the trial: `shape`, and `n_heads` where they are searched.
        plan: of its batch.
        process_bytes: what its process takes by itself.
    """
    stored, name = sizes.get("footprints", {}), values.get("shape")
    found = stored.get(f"{name}_heads_{values.get('n_heads')}") or stored.get(name)
    if found is None:
        return None
    return estimate_memory(
        Footprint.from_json(found),
        plan.micro,
        accumulation=plan.accumulation,
        data_bytes=int(sizes.get("data_bytes", 0)),
        process_bytes=process_bytes,
    )


def fit_micro_batches(spec: Spec, prepared: Prepared, allowance: Allowance) -> Prepared:
    """Return what is known of a study with the largest micro-batches of use that fit, where its specification has none.

    The effective batch stays, and so do the results. What fits with no micro-batch gets one of a single window.

    Args:
        spec: of the study.
        prepared: with the footprints of its models.
        allowance: of one trial on the machine that trains.
    """
    if spec.training.micro_batch is not None or "footprints" not in prepared.sizes:
        return prepared
    fitted = []
    for when in _batches_of(spec):
        values = derive(when, prepared.derived)
        plan = _fitting(prepared.sizes, values, _useful(batch_plan(values, spec.training), allowance), allowance)
        if plan.micro != values["micro_batch"]:
            fitted.append(Derived(when, batch_values(plan)))
    return replace(prepared, derived=(*prepared.derived, *fitted))


def _batches_of(spec: Spec) -> list[dict[str, Any]]:
    """Return the parameters that decide on the batch and the model, each choice of them."""
    if spec.supplementary is None:
        return [{"budget": budget, "style": style} for budget in spec.budgets for style in STYLES]
    low, high = spec.ranges.effective_batch
    return [{"effective_batch_log2": power} for power in range(low.bit_length() - 1, high.bit_length())]


def _useful(plan: BatchPlan, allowance: Allowance) -> BatchPlan:
    """Return a plan with no more windows at once than are of use; as it is where that would not divide it evenly."""
    most = allowance.most_windows
    return plan if most is None or plan.micro <= most or plan.effective % most else replace(plan, micro=most)


def _fitting(sizes: Mapping[str, Any], values: Mapping[str, Any], plan: BatchPlan, allowance: Allowance) -> BatchPlan:
    estimate = stored_estimate(sizes, values, plan)
    smaller = plan.halved()
    if estimate is None or allowance.holds(estimate) or smaller is None:
        return plan
    return _fitting(sizes, values, smaller, allowance)


def measured_peaks(sizes: Mapping[str, Any], finished: Sequence[Mapping[str, Any]]) -> list[Peak]:
    """Return what finished trials took beside what was estimated for them, for `budgets.memory.calibrate`.

    Left out are those that went on from a checkpoint, which is read beside the weights, and those on a GPU.

    Args:
        sizes: `Prepared.sizes` of their study.
        finished: attributes of the trials.
    """
    peaks = []
    for values in finished:
        if not values.keys() >= _NEEDED or values.get("resumed_from_step") or "peak_gpu_mb" in values:
            continue
        plan = BatchPlan(int(values["effective_batch"]), int(values["micro_batch"]))
        estimate = stored_estimate(sizes, values, plan)
        if estimate is not None:
            start, peak = (round(values[name] * MIB) for name in ("start_memory_mb", "peak_memory_mb"))
            peaks.append(Peak(estimate.without_process, start, peak))
    return peaks


def _counted(spec: Spec, architecture: Architecture, shape: WindowShape) -> Footprint:
    from studies.activations import footprint
    from studies.precision import resolve_precision

    precision, recompute = resolve_precision(spec.training.precision), spec.training.gradient_checkpointing
    return footprint(spec.model, architecture, shape, precision, recompute=recompute)
