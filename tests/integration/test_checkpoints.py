"""A trial that is interrupted goes on from its checkpoint and ends as if nothing had happened."""

import logging
import os
import resource
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from studies.declaration import architecture_values, derive
from studies.objective import PrunedError, TrialContext
from studies.preparation import prepare_prices
from studies.reading import read_spec
from studies.spec import Spec
from studies.training import score

# Micro-batches, dropout, and a look every third step: what a resumed training could get wrong.
TRAINING = {"max_steps": 12, "effective_batch": 8, "micro_batch": 2, "check_every": 3}
PARAMS = {"budget": "750k", "style": "shallow", "dropout": 0.3, "learning_rate": 1e-3, "weight_decay": 1e-3}
EVERY_STEP = 1e-9


@dataclass
class Attempt:
    """One attempt at a trial: its looks, its score unless it was stopped, and what it left."""

    home: Path
    root: Path
    number: int = 0
    training: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    search: dict[str, Any] = field(default_factory=dict)
    seed: int = 1
    stop_after: int | None = None
    fail_at_look: int | None = None
    looks: list[tuple[float, int]] = field(default_factory=list)
    steps_asked: int = 0
    score: float | None = None
    stopped: str = ""

    def run(self) -> "Attempt":
        spec = self.spec
        self.context = TrialContext(
            spec,
            number=self.number,
            attempt=self.number + 1,
            seed=self.seed,
            directory=self.root / f"artifacts-{self.number}",
            home=self.home,
            sizes=prepare_prices(spec, self.home).sizes,
            send=self._send,
            asks=self._asks,
            checkpoint_directory=self.root / "slot",
        )
        given = {**PARAMS, **self.params}
        try:
            self.score = score({**given, **derive(given, architecture_values(spec))}, self.context)
        except PrunedError as pruned:
            self.stopped = str(pruned)
        return self

    @property
    def spec(self) -> Spec:
        return read_spec("quickstart", {"training": {**TRAINING, **self.training}, **self.search})

    @property
    def predictions(self) -> dict[str, np.ndarray]:
        return dict(np.load(self.context.directory / "validation.npz"))

    @property
    def checkpoint(self) -> dict[str, Any]:
        return torch.load(self.path, weights_only=True)

    @property
    def path(self) -> Path:
        return self.root / "slot" / "training.ckpt"

    def _send(self, value: float, step: int) -> bool:
        self.looks.append((value, step))
        if step == self.fail_at_look:
            raise ConnectionError("the process is lost here")
        return False

    def _asks(self) -> bool:
        self.steps_asked += 1
        return self.steps_asked == self.stop_after


Begin = Callable[..., Attempt]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    # Lightning and torch warn about each other's and their own use of deprecated parts.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def whole(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Attempt:
    """A training that is never interrupted; it saves after every step, which must change nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = tmp_path_factory.mktemp("whole")
        return Attempt(home, root, training={"checkpoint_minutes": EVERY_STEP}).run()


@pytest.fixture
def begin(home: Path, tmp_path: Path) -> Begin:
    return lambda **values: Attempt(home, tmp_path, **values).run()


def same(first: object, second: object) -> bool:
    """Whether two values are equal to the last bit, tensors inside them included."""
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and torch.equal(first, second)
    if isinstance(first, dict):
        return (
            isinstance(second, dict) and first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
        )
    if isinstance(first, list | tuple):
        return isinstance(second, list | tuple) and len(first) == len(second) and all(map(same, first, second))
    return first == second


def assert_ended_alike(resumed: Attempt, whole: Attempt) -> None:
    own = {"resumed_from_step", "steps_trained"}
    assert resumed.score == whole.score
    assert resumed.looks == whole.looks
    assert {key: value for key, value in resumed.context.attributes.items() if key not in own} == {
        key: value for key, value in whole.context.attributes.items() if key not in own
    }
    for name, values in whole.predictions.items():
        assert np.array_equal(resumed.predictions[name], values)


# Stopped between two looks, on a look, and again and again, once right after it went on.
@pytest.mark.parametrize("stops", [[5], [6], [2, 1, 5]], ids=str)
def test_a_resumed_trial_ends_bit_for_bit_as_one_that_was_never_interrupted(
    begin: Begin, whole: Attempt, stops: list[int]
) -> None:
    done = 0
    for number, steps in enumerate(stops):
        stopped = begin(number=number, stop_after=steps)
        done += steps
        assert stopped.stopped == f"stopped at step {done}"
        assert stopped.checkpoint["global_step"] == done
    resumed = begin(number=9, training={})
    assert_ended_alike(resumed, whole)
    attributes = resumed.context.attributes
    assert (attributes["resumed_from_step"], attributes["steps_trained"], attributes["steps"]) == (done, 12 - done, 12)


def test_a_resumed_trial_has_the_same_weights_optimizer_and_random_numbers(
    begin: Begin, whole: Attempt, home: Path, tmp_path: Path
) -> None:
    every = {"checkpoint_minutes": EVERY_STEP}
    begin(training=every, stop_after=5)
    begin(training=every, number=1)
    found, expected = Attempt(home, tmp_path).checkpoint, whole.checkpoint
    assert found["global_step"] == expected["global_step"] == 11
    for part in ("state_dict", "optimizer_states", "random", "callbacks", "windows_seen"):
        assert same(found[part], expected[part]), part
    # Lightning counts batches anew within an attempt's epoch, but not what training depends on.
    automatic = "epoch_loop.automatic_optimization.optim_progress"
    assert same(found["loops"]["fit_loop"][automatic], expected["loops"]["fit_loop"][automatic])


def test_a_lost_process_costs_only_what_came_after_the_last_checkpoint(begin: Begin, whole: Attempt) -> None:
    every = {"checkpoint_minutes": EVERY_STEP}
    with pytest.raises(ConnectionError):
        begin(training=every, fail_at_look=9)
    resumed = begin(training=every, number=1)
    assert_ended_alike(resumed, whole)
    attributes = resumed.context.attributes
    assert (attributes["resumed_from_step"], attributes["steps_trained"]) == (8, 4)


def test_patience_ends_a_resumed_trial_at_the_same_step(begin: Begin) -> None:
    patient = {"max_steps": 50, "check_every": 2, "patience": 3}
    begin(training=patient, params={"learning_rate": 0.0}, stop_after=5)
    resumed = begin(training=patient, params={"learning_rate": 0.0}, number=1)
    assert (resumed.context.attributes["best_step"], resumed.context.attributes["steps"]) == (2, 8)


def test_without_minutes_a_checkpoint_is_saved_only_when_the_trial_is_told_to_stop(begin: Begin) -> None:
    only_when_told = {"max_steps": 4, "checkpoint_minutes": 0}
    trained = begin(training=only_when_told)
    assert trained.score is not None
    assert not trained.path.exists()
    stopped = begin(training=only_when_told, stop_after=2)
    assert stopped.checkpoint["global_step"] == 2


def test_a_checkpoint_says_what_it_belongs_to_and_is_harmless(begin: Begin) -> None:
    stopped = begin(stop_after=1, number=4)
    configuration = stopped.checkpoint["configuration"]
    assert configuration["spec"] == stopped.spec.as_json()
    assert configuration["training"]["max_steps"] == 12
    assert configuration["params"]["dropout"] == 0.3
    assert (configuration["seed"], configuration["trial"], configuration["attempt"]) == (1, 4, 5)
    assert [path.name for path in stopped.path.parent.iterdir()] == ["training.ckpt"]


@pytest.mark.parametrize(
    ("change", "said"),
    [({"params": {"dropout": 0.4}}, "params"), ({"seed": 2}, "seed"), ({"training": {"patience": 7}}, "training")],
    ids=["params", "seed", "training"],
)
def test_the_checkpoint_of_another_configuration_is_ignored(
    begin: Begin, caplog: pytest.LogCaptureFixture, change: dict[str, Any], said: str
) -> None:
    begin(stop_after=2)
    other = begin(**change, number=1, stop_after=1)
    assert other.stopped == "stopped at step 1"
    assert f"another {said}" in caplog.text


def test_what_decides_the_search_alone_may_change_between_attempts(begin: Begin, whole: Attempt) -> None:
    begin(stop_after=2)
    # As after `hpo resume --trials 100`.
    resumed = begin(number=1, training={"checkpoint_minutes": 3}, search={"trials": 100, "max_attempts": 9})
    assert resumed.context.attributes["resumed_from_step"] == 2
    assert_ended_alike(resumed, whole)


class Harmful:
    """Makes a directory when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def damage(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff\x00\xff")


def replace_by_code(path: Path) -> None:
    torch.save({"global_step": 2, "configuration": Harmful(path.parent / "harm")}, path)


def replace_by_something_else(path: Path) -> None:
    torch.save([1, 2, 3], path)


def replace_by_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "spoil", [truncate, empty, damage, replace_by_code, replace_by_something_else, replace_by_a_directory]
)
def test_a_checkpoint_that_cannot_be_read_is_ignored(
    begin: Begin, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], None]
) -> None:
    path = begin(stop_after=2).path
    spoil(path)
    again = begin(number=1, stop_after=1)
    assert again.stopped.startswith("stopped at step 1")
    assert "training begins at step 0" in caplog.text
    assert not (path.parent / "harm").exists()


def test_a_directory_that_cannot_be_written_loses_no_trial(
    begin: Begin, whole: Attempt, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "slot").write_text("in the way")
    every = {"checkpoint_minutes": EVERY_STEP}
    trained = begin(training=every)
    assert_ended_alike(trained, whole)
    assert "no checkpoint could be written" in caplog.text
    assert begin(training=every, stop_after=2).stopped == "stopped at step 2, without a checkpoint of it"


def test_a_full_disk_loses_neither_the_trial_nor_the_checkpoint_before(
    begin: Begin, caplog: pytest.LogCaptureFixture
) -> None:
    before = begin(stop_after=2)
    kept = before.path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(kept) // 2, hard))
    try:
        stopped = begin(number=1, stop_after=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert stopped.stopped == "stopped at step 3, without a checkpoint of it"
    assert "no checkpoint could be written" in caplog.text
    assert before.path.read_bytes() == kept
    # The weights are those of the look at step 3; of what did not fit there is nothing.
    assert {path.name for path in before.path.parent.iterdir()} == {"training.ckpt", "weights.ckpt"}


def test_what_a_killed_process_left_half_written_is_removed(begin: Begin, tmp_path: Path) -> None:
    half = tmp_path / "slot" / "tmpabc.partial"
    half.parent.mkdir()
    half.write_bytes(b"half")
    begin(stop_after=1)
    assert not half.exists()


def test_by_default_checkpoints_lie_beside_the_artifacts(home: Path, tmp_path: Path) -> None:
    spec = read_spec("quickstart")
    context = TrialContext(spec, number=0, attempt=1, seed=1, directory=tmp_path / "0", home=home)
    assert context.checkpoint_directory == tmp_path / "0" / "checkpoints"
    assert not context.should_stop()


@pytest.fixture(autouse=True)
def _hear(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="studies")


@pytest.fixture(autouse=True)
def _tidy(tmp_path: Path) -> Iterator[None]:
    # Pytest keeps the folders of three runs; a checkpoint is ten megabytes.
    yield
    shutil.rmtree(tmp_path / "slot", ignore_errors=True)
