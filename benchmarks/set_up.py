"""The built-in training up to its first step: the data is opened, the network and Lightning's loop are built.

What `overhead.py` measures with objectives that train nothing ends with the first line of the objective; this is the
rest of the way to the first step of a 750k model.
"""

import tempfile
import time
import warnings
from pathlib import Path
from statistics import median
from typing import NoReturn

from hpo.fork_server import Channel, ForkServer, call
from studies import training
from studies.declaration import Prepared, declare, derive
from studies.objective import TrialContext
from studies.reading import read_spec
from studies.spec import Spec

_FORKS = 6


class _FirstStepError(Exception):
    """The first step is about to be taken, at this moment of the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.moment = time.perf_counter()


class SetUp:
    """Forks of a server that get as far as their first step.

    Args:
        server: with torch and NeuralForecast loaded.
        home: where the data is prepared.
    """

    def __init__(self, server: ForkServer, home: Path) -> None:
        self._server, self._home, self._spec = server, home, read_spec("quickstart", {"budgets": ["750k"]})
        self._prepared: Prepared = call(
            server.address, "hpo.trial:prepare", declare(self._spec).preparation, self._spec, home
        )

    def milliseconds(self) -> float:
        """Return the median milliseconds, of both shapes."""
        arguments = self._spec, self._prepared, self._home
        styles = ("shallow", "deep")
        taken = [
            call(self._server.address, "set_up:seconds", *arguments, styles[n % len(styles)]) for n in range(_FORKS)
        ]
        return 1000 * median(taken)


def seconds(_channel: Channel, spec: Spec, prepared: Prepared, home: Path, style: str) -> float:
    """Return the seconds from calling the objective to its first step; called in a fork."""
    # Lightning's own, once a fork; in the service it stands in a trial's log.
    warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated")
    params = {"budget": "750k", "style": style, "dropout": 0.3, "learning_rate": 1e-3, "weight_decay": 0.0}
    directory = Path(tempfile.mkdtemp(dir=home))
    context = TrialContext(spec, 0, 1, 1, directory, home, prepared.sizes)

    def stop(*_: object) -> NoReturn:
        raise _FirstStepError

    training.WindowClassifier.training_step = stop  # type: ignore[method-assign]
    began = time.perf_counter()
    try:
        training.score({**params, **derive(params, tuple(prepared.derived))}, context)
    except _FirstStepError as first:
        return first.moment - began
    raise AssertionError("it trained without a step")
