"""Real training of real networks on real prices, a few steps each."""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from budgets import Architecture, BatchPlan
from studies.batches import batch_plan
from studies.checkpoint_contents import CHECKPOINT_NAME
from studies.data.examples import load_example
from studies.data.panel import Panel, build_panel, cut_before_test
from studies.declaration import architecture_values, derive, supplement
from studies.families import FAMILIES, WindowShape
from studies.losses import ClassificationLoss
from studies.objective import DivergedError, PrunedError, TrialContext
from studies.preparation import open_panel, prepare_prices, window_shape
from studies.reading import read_spec
from studies.spec import Spec
from studies.training import WindowClassifier, score
from studies.windows import TrainingWindows, Windows

TRAINING = {"max_steps": 6, "effective_batch": 8, "check_every": 3}
PARAMS = {"budget": "750k", "style": "shallow", "dropout": 0.1, "learning_rate": 1e-3, "weight_decay": 1e-3}


@dataclass(frozen=True)
class Best:
    """The best trial of Phase 1."""

    number: int
    params: dict[str, Any]
    seed: int
    score: float


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    # Lightning and torch warn about each other's and their own use of deprecated parts.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def make_spec(**training: object) -> Spec:
    return read_spec("quickstart", {"training": {**TRAINING, **training}})


def context_of(spec: Spec, cache: Path, tmp_path: Path, **values: Any) -> TrialContext:
    sizes = prepare_prices(spec, cache).sizes
    return TrialContext(spec, number=0, attempt=1, seed=1, directory=tmp_path / "0", home=cache, sizes=sizes, **values)


def train(spec: Spec, context: TrialContext, **params: object) -> float:
    given = {**PARAMS, **params}
    return score({**given, **derive(given, architecture_values(spec))}, context)


def test_a_trial_is_repeatable_with_its_seed_and_differs_with_another(cache: Path, tmp_path: Path) -> None:
    spec = make_spec()
    contexts = [context_of(spec, cache, tmp_path) for _ in range(3)]
    contexts[2].seed = 2
    first, again, other = (train(spec, context) for context in contexts)
    assert first == again != other
    assert contexts[0].attributes == contexts[1].attributes


def test_a_trial_records_its_scores_and_what_it_really_did(cache: Path, tmp_path: Path) -> None:
    spec = make_spec(micro_batch=4)
    reported: list[tuple[float, int]] = []

    def send(value: float, step: int) -> bool:
        reported.append((value, step))
        return False

    context = context_of(spec, cache, tmp_path, send=send)
    auc = train(spec, context)
    found = context.attributes
    assert found["auc"] == auc == max(value for value, _ in reported)
    assert [step for _, step in reported] == [3, 6]
    assert found["auc_low"] < auc < found["auc_high"]
    assert (found["steps"], found["windows_seen"], found["effective_batch"], found["micro_batch"]) == (6, 48, 8, 4)
    stored = np.load(tmp_path / "0" / "validation.npz")
    assert stored["probabilities"].shape == stored["labels"].shape == (found["n_observations"],)


def test_the_micro_batch_does_not_change_which_windows_an_optimizer_step_sees(cache: Path, tmp_path: Path) -> None:
    windows = Windows(panel_of(make_spec(), cache, tmp_path))
    one = next(iter(TrainingWindows(windows, BatchPlan(8, 8), seed=1)))
    four = list(islice(TrainingWindows(windows, BatchPlan(8, 2), seed=1), 4))
    assert torch.equal(one[1], torch.cat([targets for _, targets in four]))
    assert torch.equal(one[0]["futr_exog"], torch.cat([inputs["futr_exog"] for inputs, _ in four]))


def test_windows_go_on_after_the_steps_that_are_done(cache: Path, tmp_path: Path) -> None:
    windows, sizes = Windows(panel_of(make_spec(), cache, tmp_path)), BatchPlan(8, 4)
    begun = list(islice(TrainingWindows(windows, sizes, seed=1), 8))
    resumed = list(islice(TrainingWindows(windows, sizes, seed=1, steps_done=3), 2))
    for (inputs, targets), (same_inputs, same_targets) in zip(begun[6:], resumed, strict=True):
        assert torch.equal(targets, same_targets)
        assert torch.equal(inputs["futr_exog"], same_inputs["futr_exog"])


@pytest.mark.parametrize(
    ("searched", "micro_batch", "expected"),
    [
        (None, None, BatchPlan(24, 24)),
        (None, 6, BatchPlan(24, 6)),
        (8, None, BatchPlan(8, 8)),
        (8, 12, BatchPlan(8, 8)),
        (16, 12, BatchPlan(16, 4)),
        (256, 12, BatchPlan(256, 4)),
    ],
)
def test_the_micro_batch_divides_the_batch_that_phase_2_searches(
    searched: int | None, micro_batch: int | None, expected: BatchPlan
) -> None:
    params = {} if searched is None else {"effective_batch": searched}
    training = make_spec(effective_batch=24, micro_batch=micro_batch).training
    assert batch_plan(params, training) == expected


def test_phase_2_trains_with_the_heads_and_the_batch_that_it_searches(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = Best(0, {**PARAMS, "dropout": 0.1}, 1, 0.6)
    spec = supplement(make_spec(micro_batch=4, max_steps=3), "750k", best, trials=30)
    seen: list[int] = []

    def note(model: WindowClassifier, _optimizer: torch.optim.Optimizer) -> None:
        seen.append(model.windows_seen)

    monkeypatch.setattr(WindowClassifier, "on_before_optimizer_step", note)
    given = {"n_heads_log2": 1, "learning_rate": 1e-3, "weight_decay": 1e-3, "effective_batch_log2": 5}
    params = {**given, **derive(given, architecture_values(spec))}
    assert (params["n_heads"], params["effective_batch"]) == (2, 32)
    context = context_of(spec, cache, tmp_path)
    score(params, context)
    assert seen == [32, 64, 96]
    assert (context.attributes["effective_batch"], context.attributes["micro_batch"]) == (32, 4)


@pytest.mark.parametrize(
    "changed",
    [
        {"micro_batch": 2},
        {"micro_batch": 1, "gradient_checkpointing": True},
        {"data_workers": 2},
        {"data_workers": 2, "micro_batch": 4},
    ],
)
def test_what_only_decides_how_a_trial_runs_changes_no_result(
    cache: Path, tmp_path: Path, changed: dict[str, object]
) -> None:
    plain, other = make_spec(), make_spec(**changed)
    first, second = context_of(plain, cache, tmp_path), context_of(other, cache, tmp_path)
    # With dropout: its masks are those of the whole batch. What is left is the order of floating-point sums.
    expected = train(plain, first, dropout=0.5)
    assert train(other, second, dropout=0.5) == pytest.approx(expected, abs=1e-4)
    assert second.attributes["last_loss"] == pytest.approx(first.attributes["last_loss"], rel=1e-5)
    assert second.attributes["batch_metric_std"] == pytest.approx(first.attributes["batch_metric_std"], abs=1e-6)


def test_safe_and_fast_give_the_same_score_to_the_last_bit(cache: Path, tmp_path: Path) -> None:
    scores = []
    for mode in ("fast", "safe"):
        spec = read_spec("quickstart", {"training": {**TRAINING, "data_workers": 1}, "mode": mode})
        context = context_of(spec, cache, tmp_path)
        scores.append((train(spec, context), context.attributes["last_loss"], context.attributes["micro_batch"]))
    torch.use_deterministic_algorithms(False)
    assert scores[0] == scores[1]


@pytest.mark.parametrize(("micro_batch", "accumulation"), [(8, 1), (4, 2), (1, 8)])
def test_the_plan_in_the_record_is_what_the_optimizer_saw(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, micro_batch: int, accumulation: int
) -> None:
    steps: list[list[bytes]] = [[]]
    passes: list[int] = []
    training_step, configure = WindowClassifier.training_step, WindowClassifier.configure_optimizers

    def seen(self: WindowClassifier, batch: Any, index: int) -> torch.Tensor:
        steps[-1].extend(window.numpy().tobytes() for window in batch[0]["futr_exog"])
        passes.append(len(batch[1]))
        return training_step(self, batch, index)

    def stepping(self: WindowClassifier) -> torch.optim.Optimizer:
        optimizer = configure(self)
        optimizer.register_step_post_hook(lambda *_: steps.append([]))
        return optimizer

    monkeypatch.setattr(WindowClassifier, "training_step", seen)
    monkeypatch.setattr(WindowClassifier, "configure_optimizers", stepping)
    spec = make_spec(micro_batch=micro_batch)
    context = context_of(spec, cache, tmp_path)
    train(spec, context)
    plan = context.attributes
    assert (plan["effective_batch"], plan["micro_batch"], plan["accumulation"]) == (8, micro_batch, accumulation)
    assert [len(step) for step in steps] == [8] * 6 + [0]
    assert set(passes) == {micro_batch}
    drawn = TrainingWindows(Windows(panel_of(spec, cache, tmp_path)), BatchPlan(8, 8), seed=1)
    expected = [[w.numpy().tobytes() for w in inputs["futr_exog"]] for inputs, _ in islice(drawn, 6)]
    assert steps[:6] == expected


@pytest.mark.parametrize("loss", ["weighted", "focal"])
def test_other_losses_train_and_give_another_result(cache: Path, tmp_path: Path, loss: str) -> None:
    spec, plain = make_spec(loss=loss), make_spec()
    context = context_of(spec, cache, tmp_path)
    assert train(spec, context) != train(plain, context_of(plain, cache, tmp_path))
    assert math.isfinite(context.attributes["last_loss"])


def test_the_losses_are_their_formulas() -> None:
    logits, labels = torch.tensor([[0.3], [-1.2]]), torch.tensor([[1.0], [0.0]])
    one, zero = (torch.sigmoid(torch.tensor(x)).item() for x in (0.3, 1.2))
    assert ClassificationLoss("bernoulli", 0.2)(logits, labels).item() == pytest.approx(
        -(math.log(one) + math.log(zero)) / 2
    )
    assert ClassificationLoss("weighted", 0.2)(logits, labels).item() == pytest.approx(
        -(4 * math.log(one) + math.log(zero)) / 2
    )
    assert ClassificationLoss("focal", 0.2)(logits, labels).item() == pytest.approx(
        -((1 - one) ** 2 * math.log(one) + (1 - zero) ** 2 * math.log(zero)) / 2
    )


def test_training_ends_when_the_validation_score_gets_no_better(cache: Path, tmp_path: Path) -> None:
    spec = make_spec(max_steps=200, check_every=1, patience=2)
    context = context_of(spec, cache, tmp_path)
    train(spec, context, learning_rate=0.0)
    assert (context.attributes["best_step"], context.attributes["steps"]) == (1, 3)


def test_a_trial_that_is_told_to_stop_is_pruned(cache: Path, tmp_path: Path) -> None:
    spec = make_spec()
    with pytest.raises(PrunedError, match="step 3"):
        train(spec, context_of(spec, cache, tmp_path, send=lambda *_: True))


def test_a_hopeless_trial_ends_after_its_step_and_saves_nothing(cache: Path, tmp_path: Path) -> None:
    spec = make_spec(checkpoint_minutes=1e-9)
    context = context_of(spec, cache, tmp_path, asks=lambda: True, hopeless=lambda: True)
    with pytest.raises(PrunedError, match="hopeless at step 1"):
        train(spec, context)
    assert not (context.checkpoint_directory / CHECKPOINT_NAME).exists()


def test_a_trial_that_is_told_to_stop_at_its_last_step_ends_with_its_score(cache: Path, tmp_path: Path) -> None:
    spec = make_spec()
    context = context_of(spec, cache, tmp_path, send=lambda _, step: step == 6)
    assert train(spec, context) == context.attributes["auc"]


def test_a_diverging_loss_ends_the_trial_as_diverged(cache: Path, tmp_path: Path) -> None:
    spec = make_spec()
    with pytest.raises(DivergedError, match="became"):
        train(spec, context_of(spec, cache, tmp_path), learning_rate=1e30)


@pytest.mark.parametrize("micro_batch", [8, 4])
def test_a_diverging_trial_has_diverged_in_mode_safe_too(cache: Path, tmp_path: Path, micro_batch: int) -> None:
    training = {**TRAINING, "micro_batch": micro_batch}
    spec = read_spec("quickstart", {"training": training, "mode": "safe"})
    try:
        with pytest.raises(DivergedError, match="became"):
            train(spec, context_of(spec, cache, tmp_path), learning_rate=1e30)
    finally:
        torch.use_deterministic_algorithms(False)


def test_training_never_holds_the_test_part(cache: Path, tmp_path: Path) -> None:
    panel = panel_of(make_spec(), cache, tmp_path)
    last = max(panel.splits.validation)
    assert len(panel.dates) == last + panel.horizon + 1
    windows = Windows(panel)
    with pytest.raises(IndexError):
        windows.at(np.asarray([last + panel.horizon + 1]))


def test_the_loss_is_that_of_neuralforecasts_bernoulli_distribution() -> None:
    shape = WindowShape(window=10, horizon=3, n_series=2, n_features=4)
    network = FAMILIES["itransformer"].build(Architecture(16, 1, 2), shape, 0.0, 1)
    model = WindowClassifier(network, 1e-3, 0.0)
    inputs = {"insample_y": torch.rand(5, 10, 2), "futr_exog": torch.randn(5, 4, 13, 2)}
    targets = torch.randint(0, 2, (5, 2)).float()
    mine = model.training_step((inputs, targets), 0)
    output = network(inputs)[:, -1:]
    theirs = network.loss(y=targets[:, None], distr_args=network.loss.scale_decouple((output,)))
    assert mine.item() == pytest.approx(theirs.item(), rel=1e-5)


@pytest.mark.parametrize("budget", ["750k", "2M"])
@pytest.mark.parametrize("style", ["shallow", "deep"])
def test_the_exact_count_is_that_of_the_built_module(budget: str, style: str) -> None:
    architecture = read_spec("quickstart").architecture(budget, style)
    shape = WindowShape(window=80, horizon=1, n_series=2, n_features=20)
    module = FAMILIES["itransformer"].build(architecture, shape, 0.5, 1)
    built = sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
    exact = FAMILIES["itransformer"].exact_parameters(architecture, shape)
    assert exact == built
    assert 1.0 < exact / architecture.estimated_params < 1.05


def test_shuffled_labels_give_an_auc_of_one_half_within_its_interval(cache: Path, tmp_path: Path) -> None:
    """Nothing but the link between features and labels is broken: what is left to find is chance."""
    spec = make_spec(max_steps=60, effective_batch=32, check_every=60)
    panel = panel_of(spec, cache, tmp_path)
    random = np.random.default_rng(5)
    shuffled = replace(panel, labels=random.permuted(np.asarray(panel.labels), axis=0))
    context = context_of(spec, cache, tmp_path)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("studies.training.open_panel", lambda *_: shuffled)
        patched.setattr("studies.training.cut_before_test", lambda panel: panel)
        train(spec, context)
    assert context.attributes["auc_low"] < 0.5 < context.attributes["auc_high"]


def test_real_labels_give_an_auc_clearly_above_one_half(cache: Path, tmp_path: Path) -> None:
    spec = make_spec(max_steps=60, effective_batch=32, check_every=60)
    context = context_of(spec, cache, tmp_path)
    train(spec, context)
    assert context.attributes["auc_low"] > 0.5


def test_changing_the_prices_after_t_changes_nothing_that_the_network_sees_at_t() -> None:
    table = load_example("indices")
    options: dict[str, Any] = {"tier": "a20", "horizon": 1, "threshold": 0.01, "kind": "touch", "window": 80}
    options |= {"validation_fraction": 0.15, "test_fraction": 0.15}
    panel = build_panel(table, **options)
    random = np.random.default_rng(3)
    for decision in random.choice(np.asarray(panel.splits.validation), 3):
        frame = table.frame.copy()
        later = frame["ds"] > panel.dates[decision]
        frame.loc[later, ["open", "high", "low", "close"]] *= random.uniform(0.5, 2.0)
        changed = build_panel(replace(table, frame=frame), **options)
        before, after = (Windows(each).at(np.asarray([decision]))[0] for each in (panel, changed))
        assert torch.equal(before["insample_y"], after["insample_y"])
        assert torch.equal(before["futr_exog"], after["futr_exog"])


def panel_of(spec: Spec, cache: Path, tmp_path: Path) -> Panel:
    context = context_of(spec, cache, tmp_path)
    panel = cut_before_test(open_panel(spec, cache, context.sizes["panel"]))
    assert window_shape(panel) == WindowShape(80, 1, 2, 20)
    return panel
