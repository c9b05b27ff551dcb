"""Less memory for more time: layers that compute their activations again in the backward pass.

Source: Chen et al. 2016, arXiv 1604.06174. A layer then keeps its inputs alone; the forward pass is done twice.
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from studies.families.family import Family


def recompute_blocks(network: "nn.Module", family: "Family") -> None:
    """Make each block of a built network keep its inputs alone while it trains, and compute the rest again.

    The forward of the block is wrapped and not the module, so that names in `state_dict` stay. Dropout draws the same
    numbers again: torch's own generators are set back for the second pass.

    Args:
        network: from `family.build`.
        family: that says which blocks it has.
    """
    for block in family.blocks(network):
        block.forward = _recomputing(block.forward)


def _recomputing(forward: Callable[..., Any]) -> Callable[..., Any]:
    import torch
    from torch.utils.checkpoint import checkpoint

    @functools.wraps(forward)
    def wrapped(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  whatever the layer takes and gives
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=True, **kwargs)

    return wrapped
