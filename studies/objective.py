"""The contract between a trial and what is searched: the context that an objective is called with.

An objective is `score(params, context) -> float`. `params` holds the sampled and the derived values. It runs in a
process of its own, so it may crash, hang or be killed without harm to the worker.

An objective that trains for long should ask `context.should_stop()` between its steps. When that is true it saves
what it needs into `context.checkpoint_directory`, which it makes first, and raises `PrunedError`; the trial then goes
back into the queue, and the next attempt finds the directory as it was left:

    state = context.checkpoint_directory / "state.json"
    first = json.loads(state.read_text())["step"] if state.exists() else 0
    for step in range(first, 100):
        ...
        if context.should_stop():
            state.parent.mkdir(parents=True, exist_ok=True)
            state.write_text(json.dumps({"step": step + 1}))
            raise PrunedError(f"stopped at step {step}")

Saving now and then as well keeps most of the work when the process is killed or its machine fails. Where a study prunes
and the trial is hopeless, `context.should_stop()` is true as well, and `context.ends_for_good()`: then nothing needs to
be saved.
"""

import importlib
import json
import math
import sys
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studies.errors import SpecError
from studies.spec import Spec
from studies.spread import BatchSpread

Objective = Callable[[Mapping[str, Any], "TrialContext"], float]

# Stands for the folder `checkpoints` in a trial's directory.
_IN_DIRECTORY = Path()


class PrunedError(Exception):
    """Raised by an objective that was told to stop and does.

    Raised while the worker is leaving, it is an interruption: the trial goes back into the queue. Otherwise the trial
    has ended for good, as pruned.
    """


class DivergedError(ArithmeticError):
    """The loss or the score became NaN or infinite."""


@dataclass
class TrialContext:
    """What an objective may ask and tell while it runs.

    Attributes:
        spec: the study's specification.
        number: the trial's number in the study.
        attempt: counts from 1; above 1 the same parameters have been begun before.
        seed: makes the trial repeatable; equal parameters and seed give an equal score.
        directory: takes artifacts of this attempt; the service makes it.
        home: where prepared data is found.
        sizes: what the preparation found out about the data.
        threads: how many threads the trial may use.
        reserved: names that `record` refuses.
        derived: values that the service stores with the trial already; `record` takes them again, and no others.
        send: passes an intermediate value on to the worker; returns whether the trial should stop.
        asks: tells whether the trial should stop, whatever was sent; cheap enough to be called after every step.
        hopeless: tells whether it should stop for good, because its peers are far ahead.
        checkpoint_directory: where all attempts at this configuration find what the last one saved; an objective
            makes it before it writes. Default: `checkpoints` in `directory`.
    """

    spec: Spec
    number: int
    attempt: int
    seed: int
    directory: Path
    home: Path
    sizes: Mapping[str, Any] = field(default_factory=dict)
    threads: int = 1
    send: Callable[[float, int], bool] = lambda _value, _step: False
    asks: Callable[[], bool] = lambda: False
    hopeless: Callable[[], bool] = lambda: False
    reserved: Set[str] = frozenset()
    derived: Mapping[str, Any] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    checkpoint_directory: Path = _IN_DIRECTORY
    _stop: bool = False
    _spread: BatchSpread = field(default_factory=BatchSpread)

    def __post_init__(self) -> None:
        if self.checkpoint_directory == _IN_DIRECTORY:
            self.checkpoint_directory = self.directory / "checkpoints"

    def report(self, value: float, step: int) -> None:
        """Report an intermediate value of the score at a step.

        Raises:
            DivergedError: it is NaN or infinite, and so will be all that follow: the trial ends at once, as diverged.
        """
        if not math.isfinite(value):
            raise DivergedError(f"the score became {float(value)} at step {step}")
        self._stop = self.send(float(value), int(step)) or self._stop

    def report_batch(self, value: float) -> None:
        """Report the metric of one training batch: its spread is stored, and a trial that swings is flagged."""
        self._spread.add(float(value))
        self.attributes |= {"batch_metric": self.spec.score_metric, **self._spread.as_attributes()}

    def should_stop(self) -> bool:
        """Return whether the trial should end now: save what the next attempt needs and raise `PrunedError`."""
        return self._stop or self.asks()

    def ends_for_good(self) -> bool:
        """Return whether there will be no next attempt, because the trial is hopeless: nothing needs to be saved."""
        return self.hopeless()

    def record(self, **attributes: Any) -> None:  # noqa: ANN401  any JSON value
        """Store JSON values with the trial, beside its score; NumPy's numbers count as numbers.

        Raises:
            ValueError: a name belongs to the service, a value is another than the derived one of that name, or it
                can't be stored as JSON.
        """
        taken = sorted(attributes.keys() & self.reserved)
        if taken:
            raise ValueError(f"context.record: {taken[0]!r} is a name of the service's own: choose another")
        values = {key: _storable(key, value) for key, value in attributes.items()}
        for key in sorted(values.keys() & self.derived.keys()):
            if values[key] != self.derived[key]:
                raise ValueError(
                    f"context.record: {key} is {self.derived[key]!r} by the study's specification, not "
                    f"{values[key]!r}: choose another name"
                )
        self.attributes |= values


def _storable(key: str, value: Any) -> Any:  # noqa: ANN401  any value of a user
    plain = value.item() if hasattr(value, "item") else value
    try:
        text = json.dumps(plain, allow_nan=False, ensure_ascii=False)
        text.encode()
    except (TypeError, ValueError) as error:
        raise ValueError(f"context.record: {key}={value!r} can't be stored as JSON ({error})") from None
    if "\\u0000" in json.dumps(plain):
        raise ValueError(f"context.record: {key} holds a NUL character, which Postgres can't store: remove it")
    return plain


def resolve(dotted: str) -> Callable[..., Any]:
    """Return the callable that `package.module:callable` names; the working directory is importable.

    Raises:
        SpecError: the module or the callable does not exist, or the module fails to import.
    """
    module_name, _, attribute = dotted.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found = getattr(importlib.import_module(module_name), attribute, None)
    except ModuleNotFoundError as error:
        raise SpecError(
            f"objective {dotted!r}: no module {error.name!r} can be imported from the working directory, "
            "PYTHONPATH or the installed packages: correct the name or set PYTHONPATH"
        ) from None
    except Exception as error:
        raise SpecError(f"objective {dotted!r} fails to import with {error!r}: mend the module") from error
    if not callable(found):
        raise SpecError(f"objective {dotted!r}: the module has no callable {attribute!r}: correct the name")
    return found  # type: ignore[no-any-return]
