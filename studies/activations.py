"""What a model keeps in memory while it trains, counted on the module: no formula of its own for any family.

The module is built on fake tensors, which have shapes and no content, and autograd's hooks show every tensor that the
forward pass keeps for the backward pass. A tensor counts once, however many views of it are kept; parameters don't
count. The batch is a prime number of windows that divides nothing else, so what grows with it tells itself apart.
"""

import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from budgets import Architecture
from budgets.memory import Footprint
from studies.families import FAMILIES, WindowShape

if TYPE_CHECKING:
    from torch import Tensor, UntypedStorage, nn

# A prime above every width, window and number of features; memory is no matter, the tensors are fake.
_WINDOWS = 10_007
# Windows of two real passes, where a module needs the content of its tensors.
_FEW = (2, 3)
# Sequences of two real passes of a recurrent layer: of fewer, what its workspace is rounded up to would be a part.
_SEQUENCES = (16, 32)
# Of which the difference is one layer like all further ones: a decoder has one, so an encoder has two and three.
_DEPTHS = (3, 4)
# Dropout at 0 would let torch choose an attention that keeps less; a study searches from 0.1 on.
_DROPOUT = 0.5

Kept = Counter[tuple[int, int]]
"""How many tensors are kept, by their bytes a window and their bytes whatever the batch."""

Tensors = tuple[tuple[int, int], ...]
"""The same of those that grow with the batch: bytes a window, how many."""


@dataclass
class _Pass:
    """One forward pass: sizes of the tensors that are kept, by the repeated block that keeps them; None: no block."""

    parameters: int
    largest_parameter: int
    kept: dict[int | None, list[int]] = field(default_factory=dict)
    block_inputs: list[int] = field(default_factory=list)
    recurrent: "list[tuple[nn.RNNBase, Tensor]]" = field(default_factory=list)
    largest: int = 0


@cache
def footprint(
    model: str, architecture: Architecture, shape: WindowShape, precision: str = "32-true", *, recompute: bool = False
) -> Footprint:
    """Return what a model of this shape keeps in memory while it trains.

    Args:
        model: the name of its family.
        architecture: of the module.
        shape: of one window.
        precision: 32-true or bf16-mixed.
        recompute: whether its blocks keep their inputs alone and are computed again in the backward pass.
    """
    if architecture.n_layers <= max(_DEPTHS):
        return _counted(model, architecture, shape, precision, recompute=recompute)
    # Further layers are alike: 28 of them are counted as four, and 24 times what the fourth one adds.
    low, high = (
        _counted(model, replace(architecture, n_layers=layers), shape, precision, recompute=recompute)
        for layers in _DEPTHS
    )
    times = architecture.n_layers - max(_DEPTHS)
    kept, recomputed = _more(low.kept, high.kept, times), _more(low.recomputed, high.recomputed, times)
    if kept is None or recomputed is None:
        return _counted(model, architecture, shape, precision, recompute=recompute)
    return Footprint(
        parameters=high.parameters + times * (high.parameters - low.parameters),
        largest_parameter=high.largest_parameter,
        kept=kept,
        fixed_bytes=high.fixed_bytes + times * (high.fixed_bytes - low.fixed_bytes),
        recomputed=recomputed,
        passing=high.passing,
    )


def _more(low: Tensors, high: Tensors, times: int) -> Tensors | None:
    """Return `high` and so many times what it has more than `low`; None where it has less of anything."""
    more = Counter(dict(high))
    more.subtract(Counter(dict(low)))
    if min(more.values(), default=0) < 0:
        return None
    found = Counter(dict(high))
    for size, count in more.items():
        found[size] += times * count
    return tuple(sorted(found.items()))


def _counted(
    model: str, architecture: Architecture, shape: WindowShape, precision: str, *, recompute: bool
) -> Footprint:
    from torch._subclasses.fake_tensor import FakeTensorMode

    try:
        with FakeTensorMode():
            seen = _forward(model, architecture, shape, precision, _WINDOWS)
    except (RuntimeError, NotImplementedError, TypeError):
        # It looks at the content of a tensor, which a fake one has not.
        # Few windows are enough, and two numbers of them tell the batch apart.
        fewer, more = (_forward(model, architecture, shape, precision, windows) for windows in _FEW)
        groups = {block: _by_difference(fewer.kept[block], more.kept[block]) for block in fewer.kept}
        inputs, counts = _by_difference(fewer.block_inputs, more.block_inputs), fewer
        largest = (more.largest - fewer.largest) // (_FEW[1] - _FEW[0])
    else:
        groups = {block: _by_divisibility(sizes) for block, sizes in seen.kept.items()}
        inputs, counts = _by_divisibility(seen.block_inputs), seen
        largest = seen.largest // _WINDOWS
        groups[None] = groups.get(None, Kept()) + _workspaces(seen.recurrent)
    everything = sum(groups.values(), Kept())
    kept = _kept_when_recomputed(groups, inputs) if recompute else everything
    return Footprint(
        parameters=counts.parameters,
        largest_parameter=counts.largest_parameter,
        kept=_by_window(kept),
        fixed_bytes=sum(fixed * times for (_, fixed), times in kept.items()),
        # What neither is kept nor belongs to the block that has just been computed again.
        recomputed=_by_window(everything - kept),
        passing=largest,
    )


def _by_window(kept: Kept) -> Tensors:
    sizes: Counter[int] = Counter()
    for (a_window, _), times in kept.items():
        if a_window:
            sizes[a_window] += times
    return tuple(sorted(sizes.items()))


def _kept_when_recomputed(groups: dict[int | None, Kept], inputs: Kept) -> Kept:
    """Return what is kept when every block keeps its inputs alone, and the largest one has just been computed again."""
    blocks = [kept for block, kept in groups.items() if block is not None]
    largest = max(blocks, key=lambda kept: sum(size * n for (size, _), n in kept.items()), default=Kept())
    return groups.get(None, Kept()) + inputs + largest


def _by_divisibility(sizes: Sequence[int]) -> Kept:
    return Counter((size // _WINDOWS, 0) if size % _WINDOWS == 0 else (0, size) for size in sizes)


def _by_difference(fewer: Sequence[int], more: Sequence[int]) -> Kept:
    few, many = _FEW
    a_window = [(high - low) // (many - few) for low, high in zip(fewer, more, strict=True)]
    return Counter((each, low - few * each) for low, each in zip(fewer, a_window, strict=True))


def _forward(model: str, architecture: Architecture, shape: WindowShape, precision: str, windows: int) -> _Pass:
    """Build the module, run it with the loss of the training, and note what autograd keeps."""
    import torch
    from torch import nn

    network = FAMILIES[model].build(architecture, shape, _DROPOUT, 0).train()
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    entries = [each.numel() * (2 if each.is_complex() else 1) for each in trained]
    watch = _Watch(network, FAMILIES[model].blocks(network))
    inputs = {
        "insample_y": torch.zeros(windows, shape.window, shape.n_series),
        "futr_exog": torch.zeros(windows, shape.n_features, shape.window + shape.horizon, shape.n_series),
    }
    targets = torch.zeros(windows, shape.n_series)
    with (
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16-mixed"),
        torch.autograd.graph.saved_tensors_hooks(watch.keep, watch.give_back),
    ):
        loss = nn.functional.binary_cross_entropy_with_logits(network(inputs)[:, -1], targets)
    found = _Pass(sum(entries), max(entries), watch.sizes(), watch.input_sizes(), watch.recurrent, watch.largest)
    # The graph lives as long as its loss, and what it keeps as long as the graph.
    del loss
    return found


def _workspaces(recurrent: "Sequence[tuple[nn.RNNBase, Tensor]]") -> Kept:
    """Return what recurrent layers keep and hide: oneDNN's workspace, of which a fake layer says that it is empty.

    Each layer alone, with its input, is run for real with few sequences; what fake ones show has been counted. Of TFT
    it is a quarter of everything.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    hidden = Kept()
    for layer, given in recurrent:
        real = [sum(_kept_by_recurrent(layer, given, sequences)) for sequences in _SEQUENCES]
        with FakeTensorMode():
            shown = [sum(_kept_by_recurrent(layer, given, sequences)) for sequences in _SEQUENCES]
        fewer, more = (known - seen for known, seen in zip(real, shown, strict=True))
        a_sequence = (more - fewer) // (_SEQUENCES[1] - _SEQUENCES[0])
        a_window = a_sequence * given.shape[0 if layer.batch_first else 1] // _WINDOWS
        # One a layer of the stack, so that more of them are more of the same.
        hidden[a_window // layer.num_layers, 0] += layer.num_layers
    return hidden


def _kept_by_recurrent(layer: "nn.RNNBase", given: "Tensor", sequences: int) -> list[int]:
    import torch

    sizes = list(given.shape)
    sizes[0 if layer.batch_first else 1] = sequences
    kind: Callable[..., nn.RNNBase] = type(layer)
    alike = kind(layer.input_size, layer.hidden_size, layer.num_layers, batch_first=layer.batch_first)
    watch = _Watch(alike, [])
    with torch.autograd.graph.saved_tensors_hooks(watch.keep, watch.give_back):
        graph = alike(torch.zeros(sizes, requires_grad=True))
    found = watch.sizes()[None]
    del graph
    return found


@dataclass(eq=False)
class _Held:
    """A tensor in the hands of autograd, and the block that it was kept in."""

    tensor: "Tensor"
    block: int | None


class _Watch:
    """Notes the tensors that autograd keeps, and the inputs of the blocks."""

    def __init__(self, network: "nn.Module", blocks: "Sequence[nn.Module]") -> None:
        self._own = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
        # Weakly: what no path to the loss needs, such as the keys that Informer samples, is let go within the pass.
        self._held: list[weakref.ref[_Held]] = []
        self._inputs: dict[int, Tensor] = {}
        self._block: int | None = None
        self.largest = 0
        self.recurrent: list[tuple[nn.RNNBase, Tensor]] = []
        for module in network.modules():
            if hasattr(module, "all_weights") and module is not network:
                module.register_forward_pre_hook(self._meeting)
        for number, block in enumerate(blocks):
            block.register_forward_pre_hook(self._entering(number), with_kwargs=True)
            block.register_forward_hook(self._leaving)

    def keep(self, tensor: "Tensor") -> "Tensor | _Held":
        """Take a tensor that autograd is about to keep."""
        if tensor.untyped_storage()._cdata in self._own:
            return tensor
        self.largest = max(self.largest, tensor.untyped_storage().nbytes())
        # Detached: with its own history it would keep alive the operation that it belongs to.
        held = _Held(tensor.detach(), self._block)
        self._held.append(weakref.ref(held))
        return held

    def give_back(self, kept: "Tensor | _Held") -> "Tensor":
        """Return the tensor for the backward pass."""
        return kept.tensor if isinstance(kept, _Held) else kept

    def sizes(self) -> dict[int | None, list[int]]:
        """Return the bytes of the tensors that are kept, by the block that kept each first."""
        found: dict[int | None, list[int]] = {}
        for block, storage in self._storages().values():
            found.setdefault(block, []).append(storage.nbytes())
        return found

    def input_sizes(self) -> list[int]:
        """Return the bytes of the inputs of blocks that nothing outside of them keeps."""
        outside = {address for address, (block, _) in self._storages().items() if block is None}
        return [t.untyped_storage().nbytes() for address, t in self._inputs.items() if address not in outside]

    def _storages(self) -> "dict[int, tuple[int | None, UntypedStorage]]":
        found: dict[int, tuple[int | None, UntypedStorage]] = {}
        for held in (each() for each in self._held):
            if held is not None:
                storage = held.tensor.untyped_storage()
                found.setdefault(storage._cdata, (held.block, storage))
        return found

    def _meeting(self, module: Any, args: Any) -> None:  # noqa: ANN401  a hook
        self.recurrent.append((module, args[0]))

    def _entering(self, number: int) -> Any:  # noqa: ANN401  a hook
        from torch.utils._pytree import tree_leaves

        def hook(_module: object, args: object, kwargs: object) -> None:
            self._block = number
            for value in tree_leaves((args, kwargs)):
                if hasattr(value, "untyped_storage"):
                    self._inputs[value.untyped_storage()._cdata] = value

        return hook

    def _leaving(self, *_: object) -> None:
        self._block = None
