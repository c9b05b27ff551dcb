"""The memory of a study's trials: footprints are counted while a study is prepared and stored with it.

Whoever plans afterwards, a fleet or a worker, needs no torch.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from budgets import STYLES, Architecture
from budgets.memory import PROCESS_BYTES, Footprint, MemoryEstimate, Peak, estimate_memory
from studies.families import WindowShape
from studies.spec import Spec

_BYTES_A_VALUE: Final = 4


def trial_memory(
    spec: Spec,
    architecture: Architecture,
    shape: WindowShape,
    micro_batch: int,
    *,
    rows: int = 0,
    recompute: bool = False,
    process_bytes: int = PROCESS_BYTES,
) -> MemoryEstimate:
    """Return the memory of one trial, counted on its module; takes torch, and a second the first time.

    Args:
        spec: of the study: family and precision.
        architecture: of the trial.
        shape: of its windows.
        micro_batch: windows a forward pass.
        rows: of the prices that it reads.
        recompute: whether blocks compute their activations again in the backward pass.
        process_bytes: what its process takes by itself; see `budgets.memory.calibrate`.
    """
    from studies.activations import footprint
    from studies.training import resolve_precision

    precision = resolve_precision(spec.training.precision)
    found = footprint(spec.model, architecture, shape, precision, recompute=recompute)
    data = data_bytes(rows, shape.n_series, shape.n_features)
    return estimate_memory(found, micro_batch, data_bytes=data, process_bytes=process_bytes)


def count_footprints(spec: Spec, shape: WindowShape, *, recompute: bool = False) -> dict[str, Any]:
    """Return the footprints of all architectures that a study can propose, as JSON types, for `Prepared.sizes`.

    Takes torch, and a few tenths of a second an architecture.
    """
    from studies.activations import footprint
    from studies.training import resolve_precision

    precision = resolve_precision(spec.training.precision)
    return {
        architecture_key(each): footprint(spec.model, each, shape, precision, recompute=recompute).as_json()
        for each in proposed_architectures(spec)
    }


def proposed_architectures(spec: Spec) -> list[Architecture]:
    """Return the architectures that trials of a study may have."""
    fixed = spec.supplementary
    if fixed is None:
        return [spec.architecture(budget, style) for budget in spec.budgets for style in STYLES]
    width = spec.architecture(spec.budgets[0], fixed.style)
    low, high = spec.ranges.n_heads
    heads = [low << power for power in range((high // low).bit_length())]
    return [Architecture(width.d_model, width.n_layers, each) for each in heads]


def architecture_key(shape: Architecture) -> str:
    """Return the name of an architecture among the footprints of a study, such as `192x5x4`."""
    return f"{shape.d_model}x{shape.n_layers}x{shape.n_heads}"


def data_bytes(rows: int, n_series: int, n_features: int) -> int:
    """Return the bytes of the panel: features and the label, 32 bits each."""
    return rows * n_series * (n_features + 1) * _BYTES_A_VALUE


def stored_footprint(sizes: Mapping[str, Any], values: Mapping[str, Any]) -> Footprint | None:
    """Return the footprint of a trial from what was stored with its study; None for one prepared without.

    Args:
        sizes: `Prepared.sizes` of the study.
        values: derived values or attributes of the trial: d_model, n_layers, n_heads.
    """
    key = "x".join(str(values.get(name)) for name in ("d_model", "n_layers", "n_heads"))
    found = sizes.get("footprints", {}).get(key)
    return None if found is None else Footprint.from_json(found)


def stored_estimate(
    sizes: Mapping[str, Any], values: Mapping[str, Any], micro_batch: int, process_bytes: int = PROCESS_BYTES
) -> MemoryEstimate | None:
    """Return the memory of a trial from what was stored with its study; None for one prepared without."""
    found = stored_footprint(sizes, values)
    if found is None:
        return None
    data = data_bytes(int(sizes.get("rows", 0)), len(sizes.get("series", ())), int(sizes.get("features", 0)))
    return estimate_memory(found, micro_batch, data_bytes=data, process_bytes=process_bytes)


def measured_peaks(sizes: Mapping[str, Any], finished: Sequence[Mapping[str, Any]]) -> list[Peak]:
    """Return what finished trials took beside what was estimated for them, for `budgets.memory.calibrate`.

    Args:
        sizes: `Prepared.sizes` of their study.
        finished: attributes of the trials; those without `start_memory_mb`, `peak_memory_mb` and `micro_batch`, and
            those that went on from a checkpoint, which is read beside the weights, are left out.
    """
    peaks = []
    for attributes in finished:
        if attributes.get("resumed_from_step") or not {"start_memory_mb", "peak_memory_mb", "micro_batch"} <= set(
            attributes
        ):
            continue
        estimate = stored_estimate(sizes, attributes, int(attributes["micro_batch"]))
        if estimate is not None:
            start, peak = (round(attributes[name] * 2**20) for name in ("start_memory_mb", "peak_memory_mb"))
            peaks.append(Peak(estimate.without_process, start, peak))
    return peaks
