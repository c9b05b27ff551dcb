"""Dropout that does not depend on the micro-batch.

A step of 64 windows draws one mask of 64 windows a layer; the same step in two parts would draw two of 32, and other
ones. Every random number of a step would differ, and a trial that is run again with half the micro-batch, because it
ran out of memory, would end with another score. So masks are drawn for blocks of windows that lie fixed in the
effective batch, each block with a seed of its own, and a part draws the blocks that it has a share in.

Parts of whole blocks draw nothing in vain; a part of 4 windows draws its block of 16 and uses a quarter of it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from budgets.memory import MASK_WINDOWS

# Values of a random 16-bit number: a rate of dropout is rounded to this fineness, and the scale is that of the rounded.
_SHADES = 2**16
# Sets the seeds of two blocks apart: 2³² over the golden ratio. The generator of a CPU takes 32 bits.
_SEED_BITS, _BETWEEN_BLOCKS = 32, 0x9E3779B9


@dataclass(frozen=True)
class Share:
    """The rows of a part that lie in one block: rows of the part, and of the block as a whole.

    Attributes:
        block: which one of the effective batch, from 0.
        of_part: its rows among those of the part.
        of_block: the same among those of the block.
        block_rows: all of the block.
    """

    block: int
    of_part: slice
    of_block: slice
    block_rows: int


@dataclass
class StepRandomness:
    """Where in its optimizer step a training is, and the random numbers that the step began with.

    Attributes:
        parts: forward passes a step.
        part: which of them is under way, from 0.
        windows: of each part.
    """

    parts: int = 1
    part: int = 0
    windows: int = 1
    _state: dict[str, Tensor] = field(default_factory=dict)

    def begin(self, part: int, windows: int, device: torch.device) -> None:
        """Take every part of a step back to the random state in which the step began."""
        self.part, self.windows = part, windows
        if self.parts == 1:
            return
        if part == 0:
            self._state = random_state(device)
        else:
            restore_random_state(self._state, device)

    def shares(self, rows: int) -> Iterator[Share]:
        """Yield the blocks that the part under way has a share in, in order.

        Args:
            rows: of the part: a window's lie together, and are as many for each.

        Raises:
            ValueError: they are not: no mask of these windows fits.
        """
        if rows % self.windows:
            raise ValueError(f"dropout is of whole windows: {rows} rows are not a multiple of {self.windows} windows")
        each, (first, last) = rows // self.windows, (self.part * self.windows, (self.part + 1) * self.windows)
        for block in range(first // MASK_WINDOWS, -(-last // MASK_WINDOWS)):
            begin, end = block * MASK_WINDOWS, min((block + 1) * MASK_WINDOWS, self.parts * self.windows)
            low, high = max(begin, first), min(end, last)
            yield Share(
                block,
                slice((low - first) * each, (high - first) * each),
                slice((low - begin) * each, (high - begin) * each),
                (end - begin) * each,
            )


class WholeBatchDropout(nn.Module):
    """Dropout whose mask is a part of the whole effective batch's.

    Windows are the slowest part of dimension 0, so the windows of a part are a slice of it.
    """

    def __init__(self, p: float, randomness: StepRandomness) -> None:
        super().__init__()
        self.p, self._randomness = p, randomness

    def forward(self, values: Tensor) -> Tensor:
        """Return the values with a share of p set to zero, and the others scaled up."""
        dropped = round(self.p * _SHADES)
        if not self.training or dropped == 0:
            return values
        if dropped == _SHADES:
            return values * 0.0
        # Drawn from torch's own numbers, which are the same for every part, and for a layer that is computed again.
        seed = int(torch.randint(2**_SEED_BITS, ()))
        # Written as numbers and not as booleans: those are quicker to write, but each of the two multiplications would
        # convert them first, and a value then takes 7.5 ns in both passes instead of 4.
        kept = torch.empty_like(values)
        # In the order of its memory, whatever was transposed: a mask of the feed-forward takes 2.7 ns a value, not 4.7.
        strides = kept.stride()
        order = sorted(range(kept.dim()), key=lambda axis: -strides[axis])
        laid_out, windows_axis = kept.permute(order), order.index(0)
        kept_by_windows = laid_out.movedim(windows_axis, 0)
        for share in self._randomness.shares(len(values)):
            shape = [*laid_out.shape]
            shape[windows_axis] = share.block_rows
            shades = _shades(shape, (seed + share.block * _BETWEEN_BLOCKS) % 2**_SEED_BITS, values.device)
            of_block, of_part = shades.movedim(windows_axis, 0)[share.of_block], kept_by_windows[share.of_part]
            torch.ge(of_block, dropped - _SHADES // 2, out=of_part)
        return values * kept.mul_(_SHADES / (_SHADES - dropped))


def _shades(shape: Sequence[int], seed: int, device: torch.device) -> Tensor:
    """Return random int16.

    Four of them are cut out of each random int64. On a CPU that takes 2 ns a value; `bernoulli_`, which draws a number
    of 53 bits for each, takes 15 to 20, which was a fifth of a training step.
    """
    count = math.prod(shape)
    generator = torch.Generator(device).manual_seed(seed)
    numbers = torch.empty(-(-count // 4), dtype=torch.int64, device=device)
    return numbers.random_(-(2**63), None, generator=generator).view(torch.int16)[:count].view(shape)


def use_whole_batch_dropout(network: nn.Module, randomness: StepRandomness) -> None:
    """Replace every dropout of a network; names and weights stay.

    Raises:
        TypeError: a module drops numbers by itself, so that its masks would depend on the micro-batch.
    """
    for path, module in list(network.named_modules()):
        if _drops_by_itself(module):
            raise TypeError(
                f"{path} ({type(module).__name__}) drops numbers by itself, not by an nn.Dropout: replace it, as "
                "studies.families.attention does"
            )
        # Not `named_children`, which leaves out the second name of a dropout that stands twice in a module.
        for name, child in list(module._modules.items()):
            if isinstance(child, nn.Dropout):
                setattr(module, name, WholeBatchDropout(child.p, randomness))


def _drops_by_itself(module: nn.Module) -> bool:
    if isinstance(module, nn.RNNBase | nn.MultiheadAttention):
        return module.dropout > 0
    kinds = nn.Dropout1d | nn.Dropout2d | nn.Dropout3d | nn.AlphaDropout | nn.FeatureAlphaDropout
    return isinstance(module, kinds) and module.p > 0


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return the state of the random numbers that a training on this device draws."""
    states = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state()
    return states


def restore_random_state(states: dict[str, Tensor], device: torch.device) -> None:
    """Go on drawing from a state."""
    torch.set_rng_state(states["cpu"])
    # A trial may go on on another kind of device, which then draws numbers of its own.
    if device.type in states and device.type != "cpu":
        torch.get_device_module(device).set_rng_state(states[device.type])
