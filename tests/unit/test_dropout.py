"""Masks do not depend on the micro-batch."""

import pytest
import torch
from torch import nn

from studies.dropout import StepRandomness, WholeBatchDropout, use_whole_batch_dropout

# Two blocks of masks and a half.
WINDOWS = 40


def in_parts(values: torch.Tensor, parts: int, steps: int = 2) -> list[torch.Tensor]:
    """Drop twice a pass, as a network of two layers does, for some optimizer steps."""
    torch.manual_seed(5)
    randomness = StepRandomness(parts)
    first, second = WholeBatchDropout(0.5, randomness), WholeBatchDropout(0.2, randomness)
    seen = []
    for _ in range(steps):
        whole = []
        for part, rows in enumerate(values.split(len(values) // parts)):
            randomness.begin(part, WINDOWS // parts, values.device)
            whole.append(second(first(rows)))
        seen.append(torch.cat(whole))
    return seen


def equal(some: list[torch.Tensor], others: list[torch.Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(some, others, strict=True))


@pytest.mark.parametrize("parts", [1, 2, 4, 5, 8, 40])
@pytest.mark.parametrize("shape", [(42, 8), (4, 7, 7), (3,), ()])
@pytest.mark.parametrize("transposed", [False, True])
def test_the_masks_of_parts_are_those_of_the_whole_batch(parts: int, shape: tuple[int, ...], transposed: bool) -> None:
    values = torch.rand(WINDOWS, *shape) + 1
    if transposed and len(shape) > 1:
        values = values.transpose(1, 2)
    expected, found = in_parts(values, 1), in_parts(values, parts)
    assert equal(found, expected)
    assert not torch.equal(found[0], found[1])


@pytest.mark.parametrize("parts", [2, 4, 5, 8])
def test_windows_need_not_come_first_in_the_memory(parts: int) -> None:
    values = (torch.rand(42, WINDOWS, 8) + 1).transpose(0, 1)
    expected, found = in_parts(values, 1), in_parts(values, parts)
    assert equal(found, expected)
    assert not torch.equal(found[0], found[1])


def test_masks_are_drawn_in_the_order_of_the_memory() -> None:
    values, dropout, found = torch.rand(4, 6, 5) + 1, WholeBatchDropout(0.5, StepRandomness()), []
    for each in (values, values.transpose(1, 2), values.permute(2, 0, 1)):
        torch.manual_seed(3)
        found.append(dropout(each))
    assert torch.equal(found[1], found[0].transpose(1, 2))
    assert torch.equal(found[2], found[0].permute(2, 0, 1))


def test_masks_stay_those_of_the_seed_from_one_release_to_the_next() -> None:
    torch.manual_seed(3)
    kept = WholeBatchDropout(0.5, StepRandomness())(torch.ones(16)) > 0
    assert "".join("01"[int(each)] for each in kept) == "0100001111001001"


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.7, 0.999])
def test_a_share_of_the_values_is_dropped_and_the_others_make_up_for_it(rate: float) -> None:
    torch.manual_seed(1)
    found = WholeBatchDropout(rate, StepRandomness())(torch.ones(1_000_000))
    deviation = (rate * (1 - rate) / len(found)) ** 0.5
    assert abs(float((found == 0).double().mean()) - rate) < 5 * deviation + 1e-5
    kept = found[found != 0].unique()
    assert len(kept) == 1
    assert float(kept) == pytest.approx(1 / (1 - rate), rel=1e-2)


def test_values_are_dropped_independently_of_their_neighbours() -> None:
    # Four masks come out of one random number.
    torch.manual_seed(2)
    dropped = (WholeBatchDropout(0.3, StepRandomness())(torch.ones(400_000)) == 0).double()
    standard = (dropped - dropped.mean()) / dropped.std()
    for distance in range(1, 9):
        assert abs(float((standard[distance:] * standard[:-distance]).mean())) < 5 / len(dropped) ** 0.5
    by_place = dropped.view(-1, 4).mean(0)
    assert (by_place - 0.3).abs().max() < 5 * (0.21 / 100_000) ** 0.5


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_the_ends_of_the_scale_drop_nothing_and_everything(rate: float) -> None:
    values = torch.rand(4, 3, requires_grad=True)
    found = WholeBatchDropout(rate, StepRandomness())(values)
    assert torch.equal(found, values * (1 - rate))
    found.sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, torch.full((4, 3), 1 - rate))


def test_the_gradient_has_the_mask_of_the_values() -> None:
    values = torch.rand(8, 5, requires_grad=True)
    found = WholeBatchDropout(0.5, StepRandomness())(values)
    found.sum().backward()
    assert values.grad is not None
    assert torch.equal(values.detach() * values.grad, found.detach())


def test_windows_that_are_folded_into_the_batch_have_the_same_masks() -> None:
    values = torch.rand(WINDOWS, 3, 5)
    folded = values.reshape(WINDOWS * 3, 5)
    assert torch.equal(in_parts(folded, 1)[1], in_parts(folded, 4)[1])


def test_only_the_mask_of_its_part_is_kept_for_the_backward_pass() -> None:
    randomness = StepRandomness(WINDOWS)
    dropout = WholeBatchDropout(0.5, randomness)
    randomness.begin(0, 1, torch.device("cpu"))
    kept: list[int] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.untyped_storage().nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        dropout(torch.rand(1, 100, requires_grad=True))
    assert kept == [400]


def test_every_dropout_of_a_network_is_replaced_and_no_name_changes() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.3), nn.Sequential(nn.Dropout(0.1)))
    names = list(network.state_dict())
    use_whole_batch_dropout(network, StepRandomness())
    assert list(network.state_dict()) == names
    assert [m.p for m in network.modules() if isinstance(m, WholeBatchDropout)] == [0.3, 0.1]
    assert not any(isinstance(module, nn.Dropout) for module in network.modules())


def test_nothing_is_dropped_while_validating() -> None:
    dropout, values = WholeBatchDropout(0.5, StepRandomness(4)).eval(), torch.rand(4, 3)
    assert torch.equal(dropout(values), values)


def test_a_dropout_with_two_names_in_a_module_is_replaced_under_both() -> None:
    module, dropout = nn.Module(), nn.Dropout(0.4)
    module.first = module.second = dropout
    use_whole_batch_dropout(module, StepRandomness(2))
    assert isinstance(module.first, WholeBatchDropout)
    assert isinstance(module.second, WholeBatchDropout)


@pytest.mark.parametrize(
    "hidden",
    [
        nn.LSTM(2, 2, num_layers=2, dropout=0.3),
        nn.MultiheadAttention(4, 2, dropout=0.3),
        nn.Dropout1d(),
        nn.Dropout2d(),
    ],
    ids=lambda module: type(module).__name__,
)
def test_a_module_that_drops_by_itself_is_refused(hidden: nn.Module) -> None:
    network = nn.ModuleDict({"part": nn.ModuleList([hidden])})
    with pytest.raises(TypeError, match=r"part\.0 .* drops numbers by itself"):
        use_whole_batch_dropout(network, StepRandomness(2))


def test_a_module_that_could_drop_by_itself_and_does_not_is_taken() -> None:
    network = nn.ModuleList([nn.LSTM(2, 2), nn.MultiheadAttention(4, 2)])
    before = list(network.modules())
    use_whole_batch_dropout(network, StepRandomness(2))
    assert list(network.modules()) == before
