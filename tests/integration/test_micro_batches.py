"""What decides how a trial runs changes no result, whatever its family: with dropout, in 32 and in 16 bits, resumed."""

import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from neuralforecast.models.autoformer import AutoCorrelation
from torch import Tensor

from budgets import Architecture, BatchPlan
from studies.data.panel import cut_before_test
from studies.declaration import architecture_values, derive
from studies.families import FAMILIES, WindowShape
from studies.families.attention import WindowAutoCorrelation
from studies.families.recompute import recompute_blocks
from studies.losses import ClassificationLoss
from studies.objective import DivergedError, PrunedError, TrialContext
from studies.preparation import open_panel, prepare_prices
from studies.reading import read_spec
from studies.sections import Loss
from studies.spec import Spec
from studies.training import WindowClassifier, score
from studies.windows import TrainingWindows, Windows, load

SMALL, WINDOWS, STEPS = Architecture(16, 2, 8), 4, 3
SHAPE = {"d_model": 16, "n_layers": 2, "n_heads": 8}
PARAMS = {"budget": "750k", "style": "shallow", "dropout": 0.5, "learning_rate": 1e-3, "weight_decay": 1e-3}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    # Networks this small only wait for a second thread.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    # Lightning and torch warn about each other's and their own use of deprecated parts.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Machine:
    """A home with the windows of all these studies: what is searched differs, the data does not."""

    home: Path
    sizes: Mapping[str, Any]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    home = tmp_path_factory.mktemp("home")
    return Machine(home, prepare_prices(make_spec(), home).sizes)


def losses_of(
    family: str, dropout: float, micro: int, *, n_series: int, recomputed: bool = False, rough: bool = False
) -> list[float]:
    """Train a small network, as Lightning's loop does, and return the loss of every step."""
    shape = WindowShape(32, 1, n_series, 0 if family == "patchtst" else 3)
    network, parts = FAMILIES[family].build(SMALL, shape, dropout, 1), WINDOWS // micro
    if recomputed:
        recompute_blocks(network, FAMILIES[family])
    model = WindowClassifier(network, 1e-2, 1e-3, accumulation=parts).train()
    optimizer, losses = model.configure_optimizers(), []
    torch.manual_seed(3)
    for inputs, labels in steps(shape):
        optimizer.zero_grad()
        for part in range(parts):
            own = slice(part * micro, (part + 1) * micro)
            with torch.autocast("cpu", torch.bfloat16, enabled=rough):
                loss = model.training_step(({name: value[own] for name, value in inputs.items()}, labels[own]), part)
            (loss / parts).backward()
        optimizer.step()
        losses.append(model.last_loss)
    return losses


def steps(shape: WindowShape) -> list[tuple[dict[str, Tensor], Tensor]]:
    random = torch.Generator().manual_seed(1)
    rows = shape.window + shape.horizon

    def labels(*sizes: int) -> Tensor:
        return torch.randint(2, sizes, generator=random).float()

    def step() -> tuple[dict[str, Tensor], Tensor]:
        # Laid out in memory as `Windows` gathers them.
        features = torch.randn(WINDOWS, rows, shape.n_series, shape.n_features, generator=random)
        inputs = {
            "insample_y": labels(WINDOWS, shape.window, shape.n_series),
            "futr_exog": features.permute(0, 3, 1, 2),
        }
        return inputs, labels(WINDOWS, shape.n_series)

    return [step() for _ in range(STEPS)]


# One window of one series leaves the order of its dimensions in memory open: masks are drawn in that order.
@pytest.mark.parametrize(("dropout", "n_series"), [(0.3, 2), (0.5, 1)])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_micro_batch_and_recomputing_change_no_loss_of_any_family(
    family: str, dropout: float, n_series: int
) -> None:
    expected = losses_of(family, dropout, WINDOWS, n_series=n_series)
    assert expected != losses_of(family, 0.0, WINDOWS, n_series=n_series)
    for micro in (4, 2, 1):
        for recomputed in (False, True):
            found = losses_of(family, dropout, micro, n_series=n_series, recomputed=recomputed)
            assert found == pytest.approx(expected, rel=1e-5), (micro, recomputed)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_micro_batch_changes_hardly_anything_in_16_bits(family: str) -> None:
    expected = losses_of(family, 0.5, WINDOWS, n_series=2, rough=True)
    found = losses_of(family, 0.5, 1, n_series=2, recomputed=True, rough=True)
    assert found == pytest.approx(expected, rel=1e-2)


def test_rounding_does_not_choose_among_delays_that_suit_equally_well() -> None:
    attention = WindowAutoCorrelation(AutoCorrelation(False, 1))
    random = torch.Generator().manual_seed(1)
    half = torch.rand(3, 2, 4, 16, generator=random)
    # As of a window with a single 1: a delay and its opposite suit alike.
    suits, values = torch.cat([half, half.flip(-1)], -1), torch.rand(3, 2, 4, 32, generator=random)
    chosen = [
        attention.time_delay_agg_inference(values, suits * (1 + 1e-7 * torch.randn(suits.shape, generator=random)))
        for _ in range(20)
    ]
    assert all(torch.allclose(each, chosen[0], atol=1e-5) for each in chosen)


def test_delays_are_chosen_and_weighted_as_neuralforecast_does_in_evaluation() -> None:
    theirs = AutoCorrelation(False, 3, attention_dropout=0.0).eval()
    random = torch.Generator().manual_seed(1)
    for rows in (32, 17):
        queries, keys, values = (torch.randn(5, n, 4, 8, generator=random) for n in (rows, 32, 32))
        expected, _ = theirs(queries, keys, values, None)
        found, _ = WindowAutoCorrelation(theirs).train()(queries, keys, values, None)
        assert torch.allclose(found, expected, atol=1e-5)


def make_spec(family: str = "itransformer", mode: str = "fast", **training: object) -> Spec:
    return read_spec(
        "quickstart",
        {
            "model": family,
            "data": {"tier": "none"},
            "budgets": ["750k"],
            "mode": mode,
            "split": {"validation": 0.02},
            "architectures": {"750k": {"shallow": SHAPE, "deep": SHAPE}},
            "training": {"max_steps": 5, "effective_batch": 4, "check_every": 5, "window": 32, **training},
        },
    )


def context_of(spec: Spec, machine: Machine, directory: Path, **values: Any) -> TrialContext:
    return TrialContext(spec, 0, 1, seed=1, directory=directory, home=machine.home, sizes=machine.sizes, **values)


def train(spec: Spec, context: TrialContext, **params: object) -> float:
    given = {**PARAMS, **params}
    return score({**given, **derive(given, architecture_values(spec))}, context)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_resumed_trial_of_micro_batches_ends_as_a_whole_one_of_another(
    family: str, machine: Machine, tmp_path: Path
) -> None:
    plain = make_spec(family)
    whole = context_of(plain, machine, tmp_path / "whole")
    expected = train(plain, whole)
    spec = make_spec(family, micro_batch=2, gradient_checkpointing=True)
    asked: list[int] = []

    def stop_once() -> bool:
        asked.append(1)
        return len(asked) == 3

    context = context_of(spec, machine, tmp_path / "parts", asks=stop_once)
    with pytest.raises(PrunedError, match="stopped at step 3"):
        train(spec, context)
    assert train(spec, context) == pytest.approx(expected, abs=1e-3)
    assert context.attributes["resumed_from_step"] == 3
    assert context.attributes["last_loss"] == pytest.approx(whole.attributes["last_loss"], rel=1e-4)
    assert context.attributes["batch_metric_std"] == pytest.approx(whole.attributes["batch_metric_std"], abs=1e-6)


@pytest.mark.parametrize(("data_workers", "done"), [(1, 3), (2, 0), (2, 3), (3, 1)])
def test_data_workers_give_the_windows_in_the_order_of_one_process(
    machine: Machine, data_workers: int, done: int
) -> None:
    panel = cut_before_test(open_panel(make_spec(), machine.home, machine.sizes["panel"]))
    drawn = TrainingWindows(Windows(panel), BatchPlan(6, 2), seed=1, steps_done=done)
    alone, together = (list(islice(load(drawn, number), 7)) for number in (0, data_workers))
    for (inputs, targets), (same_inputs, same_targets) in zip(alone, together, strict=True):
        assert torch.equal(inputs["insample_y"], same_inputs["insample_y"])
        assert torch.equal(targets, same_targets)


@pytest.mark.parametrize("mode", ["fast", "safe"])
@pytest.mark.parametrize("micro_batch", [4, 2])
def test_a_trial_diverges_in_either_mode_and_any_micro_batch(
    machine: Machine, tmp_path: Path, mode: str, micro_batch: int
) -> None:
    spec = make_spec(mode=mode, micro_batch=micro_batch)
    try:
        with pytest.raises(DivergedError, match="became"):
            train(spec, context_of(spec, machine, tmp_path), learning_rate=1e30)
    finally:
        torch.use_deterministic_algorithms(False)
        torch.autograd.set_detect_anomaly(False)


def test_one_part_that_is_no_number_makes_a_step_diverge() -> None:
    shape = WindowShape(32, 1, 2, 3)
    model = WindowClassifier(FAMILIES["itransformer"].build(SMALL, shape, 0.0, 1), 1e-3, 0.0, accumulation=2)
    inputs, labels = steps(shape)[0]
    broken = {**inputs, "insample_y": inputs["insample_y"] * math.nan}
    model.training_step((broken, labels), 0)
    with pytest.raises(DivergedError, match="became nan"):
        model.training_step((inputs, labels), 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["bernoulli", "weighted", "focal"])
def test_losses_and_gradients_are_finite_at_extreme_logits(kind: Loss, dtype: torch.dtype) -> None:
    logits = torch.tensor([-1e30, -200.0, -1e-8, 0.0, 1e-8, 200.0, 1e30], dtype=dtype, requires_grad=True)
    for label in (0.0, 1.0):
        logits.grad = None
        loss = ClassificationLoss(kind, 0.2)(logits, torch.full_like(logits, label, dtype=torch.float32))
        loss.backward()
        assert loss.isfinite()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()


def test_looking_at_few_windows_at_a_time_gives_the_same_predictions(machine: Machine, tmp_path: Path) -> None:
    found = []
    for micro_batch in (64, 1):
        spec = make_spec(effective_batch=64, micro_batch=micro_batch, max_steps=1, check_every=1)
        context = context_of(spec, machine, tmp_path / str(micro_batch))
        # Nothing is learnt, so that only the look differs.
        train(spec, context, learning_rate=0.0)
        found.append((np.load(context.directory / "validation.npz")["probabilities"], context.attributes["auc"]))
    (probabilities, auc), (same_probabilities, same_auc) = found
    assert np.allclose(probabilities, same_probabilities, atol=1e-6)
    assert same_auc == pytest.approx(auc, abs=1e-3)
