"""Memory of one trial while it trains, beyond what its process holds when it begins.

    weights + gradients + two moments of AdamW          4 bytes a parameter each, also under bf16-mixed
    + activations      what autograd keeps for the backward pass, counted on the module
    + temporaries      of the operation under way
    + slack            freed blocks that the allocator can't give back
    + data, process    the prices, and what the libraries take when they are first used

A trial's resident memory at its peak is what its fork of the server starts with, and this. How each constant was
measured is in docs/memory.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import median
from typing import Any, Final, Self

from budgets.errors import BudgetError

MIB: Final = 2**20

BYTES_A_PARAMETER: Final = 16
"""Weight, gradient and two moments; under bf16-mixed too, where weights stay in 32 bits beside their 16-bit copies."""

PROCESS_BYTES: Final = 60 * MIB
"""Of a trial on the CPU: pages of the libraries, thread pools and the loop itself, when they are first used."""

ALLOCATOR_SLACK: Final = 0.55
"""Of the activations in small blocks: glibc keeps freed blocks in the heap, and their holes don't fit the next ones."""

RECOMPUTED_SLACK: Final = ALLOCATOR_SLACK / 2
"""Of activations that are computed again, layer by layer: about half of the holes are used by the next layer."""

SMALL_BLOCK_BYTES: Final = 32 * MIB
"""Larger blocks are mapped and given back at once: DEFAULT_MMAP_THRESHOLD_MAX of glibc, mallopt(3)."""

ADAMW_COPIES: Final = 3
"""Of the largest parameter, while AdamW updates it: the root of the second moment, the denominator, the quotient."""

MASK_WINDOWS: Final = 16
"""Windows whose dropout masks are drawn at once, of which a smaller micro-batch uses its part (`studies.dropout`)."""

CARD_CONTEXT_BYTES: Final = 500 * MIB
"""Of a process on a GPU, before its first tensor; not measured here, calibrated by the first finished trials."""

CARD_HOST_BYTES: Final = 1_300_000_000
"""RAM of a trial that trains on a GPU, 1.2 to 1.3 GB: nine workers on one card of 8.2 GB, recorded by hand."""


RESIDENT_BYTES: Final = 1024 * MIB
"""Of prices that every trial on a GPU keeps there, at most: a window is then gathered on the card, and none is copied
to it. More than that would cost a place on the card, so windows of wider prices are copied, step by step."""


@dataclass(frozen=True)
class Footprint:
    """What a model keeps in memory while it trains; counted on the module, see `studies.activations`.

    Attributes:
        parameters: that are trained.
        largest_parameter: entries of the largest of them.
        kept: tensors that autograd keeps for the backward pass, as (bytes a window, how many).
        fixed_bytes: of what it keeps whatever the batch, such as 16-bit copies of the weights.
        passing: bytes a window of the largest tensor that the forward pass lets go again, where it is known.
        recomputed: tensors that pass and are computed again in the backward pass, as `kept` has them.
    """

    parameters: int
    largest_parameter: int
    kept: tuple[tuple[int, int], ...]
    fixed_bytes: int = 0
    recomputed: tuple[tuple[int, int], ...] = ()
    passing: int = 0

    @property
    def bytes_a_window(self) -> int:
        """Activations that one more window in the micro-batch takes."""
        return sum(size * times for size, times in self.kept)

    def activations(self, micro_batch: int) -> int:
        """Return the bytes that autograd keeps at the end of a forward pass."""
        return self.bytes_a_window * micro_batch + self.fixed_bytes

    def largest(self, micro_batch: int) -> int:
        """Return the bytes of the largest tensor."""
        return max((self.passing, *(size for size, _ in self.kept))) * micro_batch

    def slack(self, micro_batch: int) -> int:
        """Return the bytes of the holes that activations leave in the heap."""
        of_kept = ALLOCATOR_SLACK * _in_small_blocks(self.kept, micro_batch)
        return round(of_kept + RECOMPUTED_SLACK * _in_small_blocks(self.recomputed, micro_batch))

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {
            "parameters": self.parameters,
            "largest_parameter": self.largest_parameter,
            "kept": [list(pair) for pair in self.kept],
            "fixed_bytes": self.fixed_bytes,
            "recomputed": [list(pair) for pair in self.recomputed],
            "passing": self.passing,
            "activation_bytes_a_window": self.bytes_a_window,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return what `as_json` was made of."""
        kept, recomputed = (
            tuple((int(size), int(times)) for size, times in value.get(name, ())) for name in ("kept", "recomputed")
        )
        numbers = {name: int(value[name]) for name in ("parameters", "largest_parameter", "fixed_bytes")}
        return cls(**numbers, kept=kept, recomputed=recomputed, passing=int(value.get("passing", 0)))


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes of one trial by what they are for."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    temporaries: int
    slack: int
    data: int
    process: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.as_json().values())

    @property
    def without_process(self) -> int:
        """What follows from the model, the batch and the data alone."""
        return self.total - self.process

    @property
    def resident_data(self) -> int:
        """Of the prices: what is kept on a GPU, all or nothing."""
        return self.data if self.data <= RESIDENT_BYTES else 0

    @property
    def on_card(self) -> int:
        """Of a trial on a GPU: what is there. Its allocator rounds up and keeps: slack as on the CPU."""
        return self.without_process - self.data + self.resident_data + CARD_CONTEXT_BYTES

    def as_json(self) -> dict[str, int]:
        """Return the parts by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def estimate_memory(
    footprint: Footprint,
    micro_batch: int,
    *,
    accumulation: int = 1,
    data_bytes: int = 0,
    process_bytes: int = PROCESS_BYTES,
) -> MemoryEstimate:
    """Return the memory of a trial at its peak, beyond what its process starts with.

    The peak is at the end of a forward pass from the second step on, when the gradients of the step before are still
    there, or in AdamW's update of the largest parameter, when the activations are gone. A look at the validation part
    keeps nothing for a backward pass: with no more windows than the micro-batch it never takes more.

    Args:
        footprint: of the model.
        micro_batch: windows a forward pass.
        accumulation: forward passes an optimizer step.
        data_bytes: of the prices, features and labels that the trial reads.
        process_bytes: what the libraries take when they are first used; see `calibrate`.

    Raises:
        BudgetError: the micro-batch or the accumulation is not positive.
    """
    if min(micro_batch, accumulation) < 1:
        given = f"{micro_batch} in {accumulation} parts"
        raise BudgetError(f"a step has parts of 1 window or more, not {given}: correct it")
    weights = 4 * footprint.parameters
    activations = footprint.activations(micro_batch)
    # Two random bytes a value of 32 bits.
    drawn = footprint.largest(min(MASK_WINDOWS, micro_batch * accumulation)) // 2
    updating = ADAMW_COPIES * 4 * footprint.largest_parameter
    return MemoryEstimate(
        weights=weights,
        gradients=weights,
        optimizer=2 * weights,
        activations=activations,
        temporaries=max(footprint.largest(micro_batch) + drawn, updating - activations),
        slack=footprint.slack(micro_batch),
        data=data_bytes,
        process=process_bytes,
    )


def _in_small_blocks(tensors: Sequence[tuple[int, int]], micro_batch: int) -> int:
    return sum(n * size * micro_batch for size, n in tensors if size * micro_batch < SMALL_BLOCK_BYTES)


@dataclass(frozen=True)
class Peak:
    """The memory of a finished trial: what was estimated for it without the process, and what was measured.

    Attributes:
        estimated: `MemoryEstimate.without_process`, in bytes.
        start: resident memory of its process when it began.
        peak: the highest resident memory of its process.
    """

    estimated: int
    start: int
    peak: int


@dataclass(frozen=True)
class Calibration:
    """The constant of the process, and how many finished trials it is from; 0: the default of this module."""

    process_bytes: int = PROCESS_BYTES
    trials: int = 0


def calibrate(peaks: Sequence[Peak]) -> Calibration:
    """Return the median of what the estimates leave over of the measured peaks, at least nothing."""
    if not peaks:
        return Calibration()
    left_over = median(each.peak - each.start - each.estimated for each in peaks)
    return Calibration(max(0, round(left_over)), len(peaks))
