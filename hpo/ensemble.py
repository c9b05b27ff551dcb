"""`hpo ensemble`: where the members' weights are, training again what is missing, and the directory made of them.

Members are distinct configurations, of the study and of those that supplement it. Of a configuration that was trained
with several seeds the first one that is here is taken, not the luckiest, and the configuration is ranked by their mean:
seeds of one configuration differ by noise, and choosing the best of them would choose noise.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hpo.artifacts import artifacts_directory
from hpo.attempts import Attempts
from hpo.ensemble_choice import Configuration, Missing, Source, rank_configurations, reason_for
from hpo.fork_server import ForkFailedError, ForkServer, call
from hpo.machine import available_cores
from hpo.presence import this_host
from hpo.records import TrialRecord
from hpo.service import Service, open_existing
from hpo.settings import Settings
from studies.declaration import Derived, declare
from studies.errors import EnsembleError
from studies.members import MEMBER_FILES, Candidate, holds_ensemble
from studies.objective import DivergedError
from studies.spec import Spec

# More members than anybody loads; greedy selection grows with it.
LARGEST_TOP_N = 50
# So many members are measured and compared at least, whatever is asked for.
_COMPARED = 10
# How far the score of one that is trained again may be from the recorded one: another CPU adds up in another order.
_SCORE_TOLERANCE = 1e-3

Working = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True)
class EnsembleOptions:
    """What `hpo ensemble` is asked for.

    Attributes:
        size: members of the plain top, picks of the greedy selection.
        method: that predictions use; None: the one that is better on what it was not selected on.
        retrain: train members whose weights are not here again.
        overwrite: replace an ensemble that is there already.
    """

    size: int = 5
    method: Literal["top", "greedy"] | None = None
    retrain: bool = False
    overwrite: bool = False


def make(
    name: str, settings: Settings, storage_url: str | None, out: Path, options: EnsembleOptions, working: Working
) -> dict[str, Any]:
    """Make an ensemble of a study's best members in a new directory; return what stands in its `ensemble.json`.

    Raises:
        InputError: the study has no members to take, or the directory is taken; nothing was written there.
    """
    _check(out, options)
    with open_existing(settings, storage_url, name) as service:
        sources = _sources(service, name)
        trials = [(source, service.control.trials(source.record.name)) for source in sources]
    ranked = rank_configurations(trials)
    if not ranked:
        raise EnsembleError(
            f"an ensemble needs a complete trial, and {name} has none: `hpo status {name} --failures` says why"
        )
    found, missing = _look(ranked, options.size, settings.home)
    if not found and not options.retrain:
        raise _nothing_here(name, missing[0])
    with _scratch_beside(out) as scratch, ForkServer(declare(sources[0].spec).preload) as server:
        with working("loading"):
            server.wait_until_ready()
        if options.retrain and missing:
            found, missing = _train_missing(ranked, options.size, settings.home, server, scratch, working)
        if not found:
            raise _nothing_here(name, missing[0])
        made = scratch / "made"
        made.mkdir()
        asked = {"top_n": options.size, "method": options.method or "both"}
        facts = {"asked": asked, "missing": [each.as_json() for each in missing]}
        content = _export(server, sources[0], settings.home, found, options, facts, made, working)
        _move(made, out)
    return content


def _nothing_here(name: str, missing: Missing) -> EnsembleError:
    return EnsembleError(
        f"an ensemble needs weights, and none of {name}'s can be had here. Trial {missing.trial}: {missing.why}"
    )


def _check(out: Path, options: EnsembleOptions) -> None:
    if not 1 <= options.size <= LARGEST_TOP_N:
        raise EnsembleError(f"--top-n is from 1 to {LARGEST_TOP_N}, not {options.size}: 5 is the default")
    if out.resolve() == Path.cwd():
        raise EnsembleError("--out is a directory of its own, not the working directory: name one in it")
    if out.exists() and not out.is_dir():
        raise EnsembleError(f"--out is a directory, {out} is a file: name another")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not holds_ensemble(out):
        raise EnsembleError(f"--out must be new or empty, {out} holds something else than an ensemble: name another")
    if not options.overwrite:
        raise EnsembleError(f"--out must be new or empty, {out} holds an ensemble: name another, or use --overwrite")


def _sources(service: Service, name: str) -> list[Source]:
    """Return the study and those that supplement it and see the same data."""
    study = service.find(name)
    spec = Spec.model_validate(study.spec)
    if not spec.uses_prices:
        raise EnsembleError(
            f"an ensemble is made of the built-in objective's models, and {name} searches {spec.objective}: combine "
            "what it keeps in its own way"
        )
    children = [service.find(child) for child in service.control.children(name)]
    panel = study.prepared["sizes"]["panel"]
    same = [child for child in children if child.prepared["sizes"]["panel"] == panel]
    return [Source(study, spec), *(Source(child, Spec.model_validate(child.spec)) for child in same)]


def _look(ranked: Sequence[Configuration], size: int, home: Path) -> tuple[list[Candidate], list[Missing]]:
    """Return the members that are here, the best first, and those of the best that are not."""
    found, missing = [], []
    for place, configuration in enumerate(ranked):
        here = [(source, trial) for source, trial in configuration.trials if not _lacks(home, source, trial)]
        if here:
            source, trial = here[0]
            found.append(_candidate(source, trial, artifacts_directory(home, source.record.name, trial.number)))
        elif place < size:
            source, trial = configuration.trials[0]
            why = reason_for(source, trial, this_host(), _lacks(home, source, trial))
            missing.append(Missing(source.record.name, trial.number, trial.score or 0.0, why))
    return found, missing


def _lacks(home: Path, source: Source, trial: TrialRecord) -> list[str]:
    return _absent(artifacts_directory(home, source.record.name, trial.number))


def _absent(directory: Path) -> list[str]:
    return [name for name in MEMBER_FILES if not (directory / name).is_file()]


def _candidate(source: Source, trial: TrialRecord, directory: Path) -> Candidate:
    assert trial.score is not None
    return Candidate(source.record.name, trial.number, trial.seed, source.spec.model, trial.score, directory)


def _train_missing(
    ranked: Sequence[Configuration], size: int, home: Path, server: ForkServer, scratch: Path, working: Working
) -> tuple[list[Candidate], list[Missing]]:
    """Train those of the best again that are not here; return all candidates in their order, and what still lacks."""
    found, missing = [], []
    for place, configuration in enumerate(ranked):
        here, lacking = _look([configuration], 1, home)
        if here or place >= size:
            found += here
            continue
        (source, trial), directory = configuration.trials[0], scratch / f"trained-{place}"
        with working(f"training trial {trial.number} of {source.record.name} again"):
            why = _train_again(server, source, trial, home, directory)
        if why:
            missing.append(Missing(source.record.name, trial.number, lacking[0].score, why))
        else:
            found.append(_candidate(source, trial, directory))
    return found, missing


def _train_again(server: ForkServer, source: Source, trial: TrialRecord, home: Path, directory: Path) -> str:
    """Train a member into a directory; return what went wrong: one that fails must not cost the others."""
    assert trial.score is not None
    try:
        score = _train(server, source, trial, home, directory)
    except (ForkFailedError, DivergedError) as error:
        return f"trained again it failed: {(str(error).strip().splitlines() or [type(error).__name__])[0]}"
    if abs(score - trial.score) > _SCORE_TOLERANCE or _absent(directory):
        return f"trained again it scores {score:.6f}, which is another model: check the versions of the libraries"
    return ""


def _train(server: ForkServer, source: Source, trial: TrialRecord, home: Path, directory: Path) -> float:
    prepared, declaration = source.record.prepared, declare(source.spec)
    rules = tuple(Derived(**rule) for rule in prepared.get("derived", ()))
    params = Attempts(declaration, source.spec.max_attempts, rules).values(trial)
    threads = int(trial.attributes.get("threads", available_cores()))
    sizes, objective = prepared.get("sizes", {}), declaration.objective
    arguments = (source.spec, objective, params, trial.seed, sizes, home, directory, threads)
    score: float = call(server.address, "hpo.ensemble_process:train_again", *arguments)
    return score


def _export(
    server: ForkServer,
    source: Source,
    home: Path,
    found: Sequence[Candidate],
    options: EnsembleOptions,
    facts: Mapping[str, Any],
    directory: Path,
    working: Working,
) -> dict[str, Any]:
    panel = source.record.prepared["sizes"]["panel"]
    with working("measuring memory and time"):
        compared = found[: max(_COMPARED, options.size)]
        costs = call(server.address, "hpo.ensemble_process:measure", source.spec, home, panel, compared)
    order = {"spec": source.spec, "home": home, "fingerprint": panel, "candidates": tuple(found)}
    order |= {"size": options.size, "method": options.method, "costs": costs, "facts": facts}
    with working("selecting, and comparing with the stored predictions"):
        content: dict[str, Any] = call(server.address, "hpo.ensemble_process:export", order, directory)
    return content


@contextmanager
def _scratch_beside(out: Path) -> Iterator[Path]:
    """Yield a directory on the same disk, so that what is complete can be moved to its place at once."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise EnsembleError(f"--out must be where a directory can be made, {out} is not ({error.strerror})") from None
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _move(made: Path, out: Path) -> None:
    """Put a complete ensemble in its place; an older one stays until then."""
    older = made.with_name("older")
    if out.is_dir() and any(out.iterdir()):
        out.rename(older)
    try:
        made.rename(out)
    except OSError as error:
        if older.exists():
            older.rename(out)
        raise EnsembleError(f"--out must be where a directory can be made, {out} is not ({error.strerror})") from None
