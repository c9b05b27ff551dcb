"""What `hpo ensemble` does in forks of the server: training a member again, measuring, and writing the ensemble."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpo.fork_server import Channel
from hpo.trial import send_output_to
from hpo.trial_memory import be_killed_first
from studies.errors import EnsembleError
from studies.members import Candidate
from studies.objective import TrialContext, resolve
from studies.spec import Spec


def train_again(  # noqa: PLR0913, PLR0917  what a fork gets
    channel: Channel,
    spec: Spec,
    objective: str,
    params: Mapping[str, Any],
    seed: int,
    sizes: Mapping[str, Any],
    home: Path,
    directory: Path,
    threads: int,
) -> float:
    """Train a finished trial again, with its seed, into another directory; return its score."""
    # Without the command nobody would take the result: end, and give the memory back.
    channel.listen(lambda _word: None, gone=lambda: os._exit(1))
    be_killed_first()
    # A study may keep no weights; these are wanted.
    spec = spec.model_copy(update={"keep_weights": max(1, spec.keep_weights)})
    directory.mkdir(parents=True)
    send_output_to(directory / "log.txt")
    context = TrialContext(
        spec=spec, number=0, attempt=1, seed=seed, directory=directory, home=home, sizes=sizes, threads=threads
    )
    return float(resolve(objective)(params, context))


def measure(
    _channel: Channel, spec: Spec, home: Path, fingerprint: str, candidates: Sequence[Candidate]
) -> list[dict[str, Any]]:
    """Return what 1, 2, 3, … of these members take; nothing else has been loaded into this process before."""
    from studies.ensemble_costs import measure_costs
    from studies.preparation import open_panel, window_shape

    return measure_costs(candidates, window_shape(open_panel(spec, home, fingerprint)))


def export(_channel: Channel, order: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """Write the ensemble into an empty directory; `order` is a `studies.exporting.ExportOrder`."""
    from studies import exporting

    try:
        return exporting.export(exporting.ExportOrder(**order), directory)
    except OSError as error:
        raise EnsembleError(
            f"an ensemble needs its members' files and room for a copy of them: {error.filename or directory} can't be "
            f"read or written ({error.strerror}); make room, or name another --out"
        ) from None
