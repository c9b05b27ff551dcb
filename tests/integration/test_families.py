"""Built modules keep the contract of `Family`: their counts, their randomness, their windows."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from neuralforecast.common._modules import AttentionLayer
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from budgets import BUDGET_CONFIGS, STYLES, Architecture, ParameterGroups
from studies.families import FAMILIES, WindowShape, equal_layers
from studies.families.recompute import recompute_blocks

# What the names of NeuralForecast's modules belong to, the first that is found in them.
_ENCODER_DECODER = {
    "embedding": "embedding",
    "norm": "norms",
    "attention": "attention",
    "projection": "head",
    "conv": "feed_forward",
}
_GROUPS = {
    "itransformer": {
        "embed": "embedding",
        "norm": "norms",
        "attention": "attention",
        "conv": "feed_forward",
        "projector": "head",
    },
    "patchtst": {
        "W_P": "embedding",
        "W_pos": "embedding",
        "norm_": "norms",
        "self_attn": "attention",
        ".ff.": "feed_forward",
        "head": "head",
    },
    "vanillatransformer": _ENCODER_DECODER,
    "informer": _ENCODER_DECODER,
    "autoformer": _ENCODER_DECODER,
    "fedformer": _ENCODER_DECODER,
    "tft": {
        "layer_norm": "norms",
        "_ln.": "norms",
        "embedding": "embedding",
        "_vsn": "embedding",
        "decoder.attention.": "attention",
        "temporal_": "feed_forward",
        "output_adapter": "head",
    },
    "timexer": {
        "embedding": "embedding",
        "norm": "norms",
        "attention": "attention",
        "conv": "feed_forward",
        "head": "head",
    },
}
# Small, and taken by every family: whole patches, an even width, eight heads, an encoder and a decoder.
SMALL, WINDOW = Architecture(32, 3, 8), WindowShape(32, 2, 3, 8)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    # Networks this small only wait for a second thread.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def shape_for(family: str, shape: WindowShape) -> WindowShape:
    """The same shape without features where the family takes none."""
    n_features = 0 if family == "patchtst" else shape.n_features
    return WindowShape(shape.window, shape.horizon, shape.n_series, n_features)


def counted(family: str, architecture: Architecture, shape: WindowShape) -> ParameterGroups:
    """Count the built module's parameters; a complex number is two."""
    with torch.device("meta"):
        module = FAMILIES[family].build(architecture, shape, 0.0, 0)
    names = _GROUPS[family]
    groups = dict.fromkeys(ParameterGroups.__dataclass_fields__, 0)
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            group = next(group for part, group in names.items() if part in name)
            groups[group] += parameter.numel() * (2 if parameter.is_complex() else 1)
    return ParameterGroups(**groups)


def random_inputs(shape: WindowShape, n_windows: int) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)
    rows = shape.window + shape.horizon
    return {
        "insample_y": torch.randint(2, (n_windows, shape.window, shape.n_series), generator=random).float(),
        "futr_exog": torch.randn(n_windows, shape.n_features, rows, shape.n_series, generator=random),
    }


def part_of(inputs: dict[str, Tensor], windows: slice) -> dict[str, Tensor]:
    return {name: value[windows] for name, value in inputs.items()}


def built(family: str, dropout: float = 0.0, seed: int = 1) -> nn.Module:
    return FAMILIES[family].build(SMALL, shape_for(family, WINDOW), dropout, seed)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([1, 2, 4, 8, 16]),
    st.integers(1, 24),
    st.integers(1, 6),
    st.integers(2, 120),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(0, 30),
)
def test_the_count_is_that_of_the_built_module_over_the_whole_space(
    family: str, n_heads: int, width: int, n_layers: int, window: int, horizon: int, n_series: int, n_features: int
) -> None:
    heads = FAMILIES[family].heads or n_heads
    architecture = Architecture(width * heads, n_layers, heads)
    # Few windows are whole patches by chance.
    rows = window * 16 if family == "timexer" else window
    shape = shape_for(family, WindowShape(rows, horizon, n_series, n_features))
    assume(FAMILIES[family].refusal(architecture, shape) is None)
    assert FAMILIES[family].count(architecture, shape) == counted(family, architecture, shape)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("budget", BUDGET_CONFIGS)
@pytest.mark.parametrize("style", STYLES)
def test_the_count_is_that_of_the_module_at_every_row_of_the_table(family: str, budget: str, style: str) -> None:
    row = BUDGET_CONFIGS[budget][style]  # type: ignore[index]
    architecture = Architecture(row.d_model, row.n_layers, FAMILIES[family].heads or row.n_heads)
    shape = shape_for(family, WindowShape(80, 1, 2, 20))
    found = FAMILIES[family].count(architecture, shape)
    assert found == counted(family, architecture, shape)
    assert found.total == FAMILIES[family].exact_parameters(architecture, shape)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=10, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(2, 40), st.integers(1, 4), st.integers(0, 2), st.data())
def test_what_is_not_refused_can_be_built_and_gives_finite_logits(
    family: str, width: int, n_layers: int, window: int, horizon: int, n_features: int, data: st.DataObject
) -> None:
    heads = FAMILIES[family].heads or data.draw(st.sampled_from([1, 2, 4]))
    architecture, rows = Architecture(width * heads, n_layers, heads), window * 16 if family == "timexer" else window
    shape = shape_for(family, WindowShape(rows, horizon, 2, n_features))
    assume(FAMILIES[family].refusal(architecture, shape) is None)
    network = FAMILIES[family].build(architecture, shape, 0.1, 0)
    logits = network(random_inputs(shape, 2))
    assert logits.shape == (2, horizon, 2)
    assert logits.isfinite().all()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("n_heads", [1, 8])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_window_is_scored_as_if_it_were_alone(family: str, n_heads: int, training: bool) -> None:
    shape, heads = shape_for(family, WINDOW), FAMILIES[family].heads or n_heads
    network = FAMILIES[family].build(Architecture(16, 3, heads), shape, 0.0, 1).train(training)
    inputs = random_inputs(shape, 4)
    whole = network(inputs)
    alone = torch.cat([network(part_of(inputs, slice(i, i + 1))) for i in range(4)])
    halves = torch.cat([network(part_of(inputs, slice(0, 2))), network(part_of(inputs, slice(2, 4)))])
    assert torch.allclose(whole, alone, atol=1e-5)
    assert torch.allclose(whole, halves, atol=1e-5)
    assert not torch.allclose(whole[0], whole[1], atol=1e-6)


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"itransformer", "timexer"}))
def test_a_network_of_one_series_treats_all_series_alike(family: str) -> None:
    network, inputs = built(family).eval(), random_inputs(shape_for(family, WINDOW), 2)
    turned = {name: value.flip(-1) for name, value in inputs.items()}
    assert torch.allclose(network(turned), network(inputs).flip(-1), atol=1e-6)


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"patchtst"}))
def test_the_newest_feature_and_the_newest_label_are_seen(family: str) -> None:
    network, shape = built(family).eval(), shape_for(family, WINDOW)
    before = network(random_inputs(shape, 1))
    for name in ("futr_exog", "insample_y"):
        inputs = random_inputs(shape, 1)
        newest = inputs[name][:, :, -1] if name == "futr_exog" else inputs[name][:, -1]
        newest += 1
        assert not torch.equal(network(inputs), before), name


@pytest.mark.parametrize("family", FAMILIES)
def test_all_randomness_follows_from_the_seed(family: str) -> None:
    inputs = random_inputs(shape_for(family, WINDOW), 2)
    networks = [built(family, dropout=0.3, seed=seed) for seed in (5, 5, 6)]
    first, again, other = (network.eval()(inputs) for network in networks)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    # Looking once more, whatever the state of torch's generators, shows the same.
    torch.manual_seed(123)
    assert torch.equal(networks[0](inputs), first)


@pytest.mark.parametrize("n_features", [0, 1, 4])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_trained_parameter_gets_a_gradient(family: str, n_features: int) -> None:
    shape = shape_for(family, WindowShape(32, 1, 2, n_features))
    network = FAMILIES[family].build(SMALL, shape, 0.0, 1).train()
    network(random_inputs(shape, 3)).square().sum().backward()
    trained = {name: each.grad for name, each in network.named_parameters() if each.requires_grad}
    assert not [name for name, gradient in trained.items() if gradient is None or not gradient.any()]


@pytest.mark.parametrize("n_features", [0, 4])
@pytest.mark.parametrize("family", ["fedformer", "tft"])
def test_what_is_left_untrained_does_not_matter(family: str, n_features: int) -> None:
    shape = WindowShape(32, 1, 2, n_features)
    network, inputs = FAMILIES[family].build(SMALL, shape, 0.0, 1).eval(), random_inputs(shape, 3)
    before = network(inputs)
    untrained = {name: each for name, each in network.named_parameters() if not each.requires_grad}
    parts = [name for name in untrained if ".loss." not in name]
    assert len(parts) >= 3
    with torch.no_grad():
        for name in parts:
            untrained[name].normal_()
    assert torch.equal(network(inputs), before)


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_dropped_past_the_dropout_modules(family: str) -> None:
    inputs = random_inputs(shape_for(family, WINDOW), 2)
    network = built(family, dropout=0.5).train()
    dropped = [network(inputs) for _ in range(2)]
    assert not torch.equal(*dropped)
    for layer in list(network.modules()):
        for name, child in list(layer.named_children()):
            if isinstance(child, nn.Dropout):
                # As a variant of it would: it has a rate, and here does nothing.
                setattr(layer, name, Idle(child.p))
    undropped = [network(inputs) for _ in range(2)]
    assert torch.equal(*undropped)
    assert torch.allclose(undropped[0], built(family).train()(inputs), atol=1e-6)


class Idle(nn.Dropout):
    """A dropout that drops nothing, and has the windows in its first dimension."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  torch's name
        assert input.shape[0] % 2 == 0
        return input


@pytest.mark.parametrize("family", FAMILIES)
def test_recomputing_gives_the_same_loss_and_gradients_and_keeps_the_names(family: str) -> None:
    shape = shape_for(family, WINDOW)
    inputs, results, names = random_inputs(shape, 4), [], []
    for recomputed in (False, True):
        network = built(family, dropout=0.3).train()
        runs: list[int] = []
        if recomputed:
            recompute_blocks(network, FAMILIES[family])
        for block in FAMILIES[family].blocks(network):
            next(child for child in block.modules() if isinstance(child, nn.Linear)).register_forward_hook(
                lambda *_, runs=runs: runs.append(1)
            )
        torch.manual_seed(7)
        loss = network(inputs).square().mean()
        loss.backward()
        # The first matrix of a block is used once, or again in the backward pass.
        assert len(runs) == (2 if recomputed else 1) * len(FAMILIES[family].blocks(network)) > 0
        results.append((loss, {name: each.grad for name, each in network.named_parameters()}))
        names.append(list(network.state_dict()))
    (loss, gradients), (same_loss, same_gradients) = results
    assert names[0] == names[1]
    assert torch.equal(loss, same_loss)
    assert any(each is not None and each.abs().sum() > 0 for each in gradients.values())
    for name, gradient in gradients.items():
        assert (gradient is None) == (same_gradients[name] is None)
        assert gradient is None or torch.allclose(gradient, same_gradients[name], rtol=1e-5, atol=1e-7), name


@pytest.mark.parametrize("family", FAMILIES)
def test_faster_layers_give_the_outputs_and_gradients_of_those_of_neuralforecast(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    faster, inputs = built(family).train(), random_inputs(shape_for(family, WINDOW), 4)
    if family == "itransformer":
        assert isinstance(faster.encoder.attn_layers[-1].attention, equal_layers.FewQueriesAttention)
    monkeypatch.setattr(equal_layers, "with_matrix_convolutions", lambda network: network)
    monkeypatch.setattr(equal_layers, "FirstTokensLayer", lambda layer, _n_kept: layer)
    monkeypatch.setattr(equal_layers, "FewQueriesAttention", lambda attention: attention)
    original = built(family).train()
    assert list(faster.state_dict()) == list(original.state_dict())
    found, expected = faster(inputs), original(inputs)
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert expected.std() > 1e-3
    found[:, -1].square().sum().backward()
    expected[:, -1].square().sum().backward()
    for (name, one), other in zip(faster.named_parameters(), original.parameters(), strict=True):
        assert torch.equal(one, other), name
        if other.grad is not None:
            assert one.grad is not None, name
            assert torch.allclose(one.grad, other.grad, rtol=1e-3, atol=1e-5), name


@pytest.mark.parametrize("training", [False, True])
def test_a_few_queries_attend_without_keys_and_values_as_they_do_with_them(
    training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, results, built_ways = random_inputs(WINDOW, 4), [], []
    for attention in (equal_layers.FewQueriesAttention, lambda layer: layer):
        monkeypatch.setattr(equal_layers, "FewQueriesAttention", attention)
        network = built("itransformer", dropout=0.3).train(training)
        built_ways.append(type(network.encoder.attn_layers[-1].attention))
        # Biases begin small: the share of the values' that dropout leaves would be lost in the tolerance.
        nn.init.normal_(network.encoder.attn_layers[-1].attention.value_projection.bias)
        torch.manual_seed(7)
        logits = network(inputs)[:, -1]
        logits.square().sum().backward()
        named = network.named_parameters()
        results.append((logits, {name: each.grad for name, each in named if each.grad is not None}))
    assert built_ways[0] != built_ways[1]
    (found, gradients), (expected, same) = results
    assert gradients.keys() == same.keys()
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-6)
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, same[name], rtol=1e-3, atol=1e-5), name


@pytest.mark.parametrize(
    ("n_series", "n_features", "few"), [(2, 20, True), (1, 8, True), (40, 1, False), (3, 0, False), (2, 5, False)]
)
def test_keys_and_values_are_made_where_that_takes_fewer_operations_or_less_memory(
    n_series: int, n_features: int, few: bool
) -> None:
    shape, architecture = WindowShape(80, 1, n_series, n_features), Architecture(128, 2, 8)
    network = FAMILIES["itransformer"].build(architecture, shape, 0.1, 1).train()
    last, other = network.encoder.attn_layers[-1], equal_layers.FewQueriesAttention
    assert isinstance(last.attention, other) == few
    operations = []
    for _ in range(2):
        with FlopCounterMode(display=False) as counter:
            network(random_inputs(shape, 1))
        operations.append(counter.get_total_flops())
        last.attention = AttentionLayer(last.attention.inner_attention, 128, 8) if few else other(last.attention)
    n_tokens = n_series * (1 + n_features)
    saved = 4 * 128 * (128 * (n_tokens - n_series) - (8 - 1) * n_series * n_tokens)
    # Torch counts the products of the biases as well: a channel of a head for each token, and for each query.
    biases = 2 * n_series * (128 + 8 * n_tokens * 128 // 8)
    difference = operations[1] - operations[0] if few else operations[0] - operations[1]
    assert difference == pytest.approx(saved - biases, abs=biases)
    assert few == (saved > 0 and 8 * n_series <= n_tokens)


@pytest.mark.parametrize("shape", [WindowShape(80, 1, 2, 20), WindowShape(48, 5, 3, 4)])
@pytest.mark.parametrize("architecture", [Architecture(192, 2, 8), Architecture(128, 4, 8)])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_operations_are_about_those_that_torch_counts(
    family: str, architecture: Architecture, shape: WindowShape
) -> None:
    shape = shape_for(family, shape)
    # With dropout, attention is computed by products that torch counts.
    network = FAMILIES[family].build(architecture, shape, 0.1, 1).train()
    with FlopCounterMode(display=False) as counter:
        network(random_inputs(shape, 1))
    uncounted = 0
    if family == "tft":
        # Torch does not look into an LSTM: eight matrices a layer and row.
        rows = shape.n_series * (shape.window + shape.horizon)
        uncounted = 2 * 8 * architecture.d_model**2 * architecture.n_layers * rows
    found = FAMILIES[family].forward_flops(architecture, shape)
    # Embedding and head are not in the rule, transforms, biases and sums not in torch's count.
    assert found == pytest.approx(counter.get_total_flops() + uncounted, rel=0.07)


@pytest.mark.parametrize("family", FAMILIES)
def test_networks_compute_in_16_bits(family: str) -> None:
    network, inputs = built(family).train(), random_inputs(shape_for(family, WINDOW), 2)
    exact = network(inputs)
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(inputs)
    rough.float().sum().backward()
    assert torch.allclose(rough.float(), exact, atol=0.1)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_network_normalizes_over_the_batch(family: str) -> None:
    batch_norms = (nn.modules.batchnorm._BatchNorm, nn.SyncBatchNorm)
    assert not any(isinstance(module, batch_norms) for module in built(family).modules())
