"""What is counted on fake tensors is what real modules keep, and what real trials take."""

import os
import subprocess
import sys
import weakref
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from command import Command

from budgets import Architecture, BatchPlan
from budgets.memory import BYTES_A_PARAMETER
from studies.activations import footprint
from studies.families import FAMILIES, WindowShape
from studies.memory import count_footprints, trial_memory
from studies.reading import read_spec

ROOT = Path(__file__).parents[2]
SHAPE = WindowShape(window=40, horizon=1, n_series=2, n_features=4)


@pytest.fixture(autouse=True)
def _quiet(recwarn: pytest.WarningsRecorder) -> None:
    """Lightning and torch warn about each other's deprecated parts."""


@dataclass(eq=False)
class Held:
    """A tensor as long as autograd keeps it."""

    tensor: torch.Tensor


def architecture_of(model: str, layers: int) -> Architecture:
    return Architecture(64, layers, FAMILIES[model].heads or 4)


def kept_for_real(model: str, layers: int, windows: int) -> int:
    """Return the bytes that autograd keeps of a real forward pass with the loss."""
    network = FAMILIES[model].build(architecture_of(model, layers), SHAPE, 0.5, 1).train()
    own = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    kept: list[weakref.ref[Held]] = []

    def keep(tensor: torch.Tensor) -> Held:
        held = Held(tensor.detach())
        kept.append(weakref.ref(held))
        return held

    inputs = {
        "insample_y": torch.rand(windows, SHAPE.window, SHAPE.n_series),
        "futr_exog": torch.rand(windows, SHAPE.n_features, SHAPE.window + SHAPE.horizon, SHAPE.n_series),
    }
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda held: held.tensor):
        logits = network(inputs)[:, -1]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.ones(windows, SHAPE.n_series))
    storages = [held.tensor.untyped_storage() for held in (each() for each in kept) if held is not None]
    assert loss.isfinite()
    return sum({each.data_ptr(): each.nbytes() for each in storages if each.data_ptr() not in own}.values())


@pytest.mark.parametrize("model", FAMILIES)
def test_the_count_is_what_a_real_module_keeps(model: str) -> None:
    """Also of more layers than are counted: the further ones are alike."""
    found = footprint(model, architecture_of(model, 6), SHAPE)
    assert found.activations(7) == pytest.approx(kept_for_real(model, 6, 7), rel=0.005)
    assert found.parameters == FAMILIES[model].count(architecture_of(model, 6), SHAPE).total


@pytest.mark.parametrize("model", FAMILIES)
def test_half_the_bits_keep_about_half_and_recomputed_blocks_far_less(model: str) -> None:
    plain = footprint(model, architecture_of(model, 6), SHAPE)
    mixed = footprint(model, architecture_of(model, 6), SHAPE, "bf16-mixed")
    recomputed = footprint(model, architecture_of(model, 6), SHAPE, recompute=True)
    assert 0.45 < mixed.bytes_a_window / plain.bytes_a_window < 0.95
    # The 16-bit copies of the matrices are kept, whatever the batch.
    assert mixed.fixed_bytes > plain.fixed_bytes
    # TFT's gates around its blocks, and its LSTMs, are not computed again.
    assert recomputed.bytes_a_window < (0.9 if model == "tft" else 0.6) * plain.bytes_a_window


def test_the_estimate_of_a_trial_follows_its_study() -> None:
    spec = read_spec("quickstart", {"training": {"gradient_checkpointing": True}})
    shape, deep = WindowShape(80, 1, 2, 20), spec.architecture("2M", "deep")
    lighter = trial_memory(spec, deep, shape, BatchPlan(64, 16))
    whole = trial_memory(read_spec("quickstart"), deep, shape, BatchPlan(64, 64))
    assert lighter.weights + lighter.gradients + lighter.optimizer == BYTES_A_PARAMETER * 2_256_193
    assert lighter.activations < whole.activations / 8
    stored = count_footprints(spec, shape)
    assert sorted(stored) == ["2M_deep", "2M_shallow", "750k_deep", "750k_shallow"]
    assert stored["2M_deep"]["activation_bytes_a_window"] * 16 + stored["2M_deep"]["fixed_bytes"] == lighter.activations


def test_every_further_window_takes_the_same() -> None:
    few, more = (kept_for_real("patchtst", 2, windows) for windows in (5, 9))
    found = footprint("patchtst", architecture_of("patchtst", 2), SHAPE)
    assert more - few == 4 * found.bytes_a_window
    assert replace(found, kept=()).activations(9) == found.fixed_bytes


def test_the_peak_of_real_trials_is_within_a_quarter_of_the_estimate() -> None:
    """A few rows of the benchmark, with its own tolerance and exit code."""
    command = [sys.executable, "-W", "ignore", "benchmarks/memory.py", "x16", "M_shallow"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.splitlines()[-1].startswith("3 of 3 within 25%")


SMALL = """
name: small
budgets: [750k]
data: {example: indices, tier: a20}
trials: 2
forced_extremes: false
training: {max_steps: 4, effective_batch: 8, check_every: 2, window: 20}
"""


def test_a_plan_knows_an_open_study_and_learns_from_its_trials(hpo: Command) -> None:
    path = hpo.write("small.yaml", SMALL)
    assert hpo.run("run", path, "--workers", "0").code == 0
    before = hpo.json("fleet", "plan")
    assert before["studies"] == ["small"]
    assert before["process"]["trials"] == 0
    assert before["trials_per_hour"] is None
    assert before["fitting"] == min(limit["workers"] for limit in before["limits"])
    assert before["binding"] == before["limits"][0]["resource"]
    assert hpo.run("run", path, "--workers", "1").code == 0
    after = hpo.json("fleet", "plan", "--study", "small", "--workers", "3")
    assert after["process"]["trials"] == 2
    assert after["workers"] == 3
    (size,) = after["sizes"]
    assert (size["name"], size["ended"]) == ("750k", 2)
    # What two real trials left over lies near the default, which was measured elsewhere.
    assert 20 < after["process"]["process_bytes"] / 2**20 < 120


def test_a_plan_fits_a_terminal_and_refuses_what_is_no_plan(hpo: Command) -> None:
    assert hpo.run("run", hpo.write("small.yaml", SMALL), "--workers", "0").code == 0
    shown = hpo.run("fleet", "plan")
    assert shown.code == 0
    assert max(map(len, shown.out.splitlines())) <= 80
    assert "binds" in shown.out
    assert "trials an hour: unknown until trials have finished" in shown.out
    none, unknown = hpo.run("fleet", "plan", "--workers", "0"), hpo.run("fleet", "plan", "--study", "smal")
    assert (none.code, unknown.code) == (2, 2)
    assert "1 or more" in none.err
    assert "small" in unknown.err
