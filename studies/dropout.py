"""Dropout that does not depend on the micro-batch.

A step of 64 windows draws one mask of 64 windows a layer; the same step in two parts would draw two of 32, and other
ones. Every random number of a step would differ, and a trial that is run again with half the micro-batch, because it
ran out of memory, would end with another score. So every part begins with the random state of its step, draws the
masks of all its windows, and uses its own.

It costs the drawing of `accumulation` times as many numbers as are used.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

# Values of a random 16-bit number: a rate of dropout is rounded to this fineness, and the scale is that of the rounded.
_SHADES = 2**16


@dataclass
class StepRandomness:
    """Where in its optimizer step a training is, and the random numbers that the step began with.

    Attributes:
        parts: forward passes a step.
        part: which of them is under way, from 0.
    """

    parts: int = 1
    part: int = 0
    _state: dict[str, Tensor] = field(default_factory=dict)

    def begin(self, part: int, device: torch.device) -> None:
        """Take every part of a step back to the random state in which the step began."""
        self.part = part
        if self.parts == 1:
            return
        if part == 0:
            self._state = random_state(device)
        else:
            restore_random_state(self._state, device)


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
        rows, part = values.shape[0], self._randomness.part
        whole = _shades_of_whole(values, self._randomness.parts)
        shades = whole[part * rows : (part + 1) * rows]
        # Written as numbers and not as booleans: those are quicker to write, but each of the two multiplications would
        # convert them first, and a value then takes 7.5 ns in both passes instead of 4.
        kept = torch.ge(shades, dropped - _SHADES // 2, out=torch.empty_like(values))
        return values * kept.mul_(_SHADES / (_SHADES - dropped))


def _shades_of_whole(values: Tensor, parts: int) -> Tensor:
    """Return random int16 for so many times the rows, laid out as the values are: numbers are drawn in that order.

    Four of them are cut out of each random int64. On a CPU that takes 2 ns a value; `bernoulli_`, which draws a number
    of 53 bits for each, takes 15 to 20, which was a fifth of a training step.
    """
    strides = values.stride()
    order = sorted(range(values.dim()), key=lambda axis: -strides[axis])
    shape = [values.shape[axis] * (parts if axis == 0 else 1) for axis in order]
    count = math.prod(shape)
    numbers = torch.empty(-(-count // 4), dtype=torch.int64, device=values.device).random_(-(2**63), None)
    shades = numbers.view(torch.int16)[:count].view(shape)
    return shades.permute([order.index(axis) for axis in range(values.dim())])


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
