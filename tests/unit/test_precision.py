"""One precision a study: what `auto` means, and that it is decided once."""

from typing import Any

import pytest
import torch

from studies.declaration import Derived, decided, supplement
from studies.precision import (
    FULL,
    LEAST_SPEEDUP,
    MIXED,
    TF32,
    begin,
    best_of_processor,
    bf16_speedup,
    precision_of,
    processor_has_bf16,
    resolve_precision,
)
from studies.spec import Spec


def never() -> float:
    raise AssertionError("it was measured")


@pytest.mark.parametrize("name", [FULL, TF32, MIXED])
def test_a_precision_that_is_named_stays(name: str) -> None:
    assert resolve_precision(name) == name


@pytest.mark.parametrize(
    ("instructions", "has"),
    [({"avx512_bf16": True}, True), ({"amx_bf16": True, "avx512_bf16": False}, True), ({"avx512_f": True}, False)],
)
def test_a_processor_has_bfloat16_where_it_multiplies_in_it(instructions: dict[str, Any], has: bool) -> None:
    assert processor_has_bf16(instructions) is has


def test_auto_never_takes_what_a_processor_emulates_and_measures_nothing_for_it() -> None:
    assert best_of_processor({"avx512_f": True}, never) == FULL


@pytest.mark.parametrize(("speedup", "precision"), [(LEAST_SPEEDUP, MIXED), (LEAST_SPEEDUP - 0.01, FULL)])
def test_auto_takes_bfloat16_where_the_measurement_says_that_it_pays(speedup: float, precision: str) -> None:
    assert best_of_processor({"amx_bf16": True}, lambda: speedup) == precision


def test_the_measurement_is_made_once_a_process() -> None:
    assert bf16_speedup() == bf16_speedup() > 0


def test_a_trial_has_the_precision_of_its_study_and_not_of_its_machine() -> None:
    assert precision_of({"precision": MIXED}, "auto") == MIXED
    assert precision_of({"precision": FULL}, "auto") == FULL
    assert precision_of({}, MIXED) == MIXED


def test_a_precision_that_is_emulated_is_said_in_the_log_of_the_trial(caplog: pytest.LogCaptureFixture) -> None:
    emulated = not torch.cuda.is_available() and not processor_has_bf16(torch.cpu.get_capabilities())
    precision_of({"precision": MIXED}, "auto")
    assert ("emulates bfloat16" in caplog.text) is emulated


def test_convolutions_are_exact_unless_tf32_is_asked_for() -> None:
    """Torch's own default would round them on a card, and the feed-forwards are convolutions."""
    try:
        assert begin(TF32) == FULL
        assert torch.backends.cudnn.allow_tf32
        assert begin(MIXED) == MIXED
        assert not torch.backends.cudnn.allow_tf32
    finally:
        assert begin(FULL) == FULL
    assert not torch.backends.cudnn.allow_tf32


def test_phase_2_is_trained_as_phase_1_was_wherever_it_is_made() -> None:
    class Best:
        number, seed, score = 3, 1, 0.7
        params = {"budget": "2M", "style": "deep", "dropout": 0.1, "learning_rate": 1e-4, "weight_decay": 0.06}  # noqa: RUF012

    spec = Spec(name="phase1")
    stored = [{"when": {}, "values": {"precision": MIXED}}, {"when": {"budget": "2M"}, "values": {"n_layers": 5}}]
    made = supplement(decided(spec, stored), "2M", Best(), 25)
    assert made.training.precision == MIXED
    assert made.training.model_copy(update={"precision": "auto"}) == spec.training
    assert decided(spec, ()) == spec


def test_every_trial_of_a_study_is_given_its_precision() -> None:
    from studies.preparation import prepare_prices
    from studies.reading import read_spec

    prepared = prepare_prices(read_spec("quickstart", {"training": {"precision": "bf16-mixed"}}), None)
    assert Derived({}, {"precision": MIXED}) in prepared.derived
