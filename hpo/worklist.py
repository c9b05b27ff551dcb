"""What open studies have for a worker, and on which of them this machine can work."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from hpo.claims import Claim, Claims
from hpo.control import Control
from hpo.fork_server import ForkFailedError, call
from hpo.presence import is_dead
from hpo.records import OpenWork, WorkerRecord
from hpo.settings import Settings
from hpo.storage import Storage
from hpo.worker_options import WorkerOptions

_LOG = logging.getLogger("hpo.worker")

# A study that this machine cannot work on is looked at again after so many seconds.
_UNREADY_SECONDS = 600.0


class Worklist:
    """The open studies as one worker sees them.

    Args:
        storage: where they are.
        options: of the worker.
        settings: of this machine.
        me: the worker.
        connected_seconds: for how long its beats have been on time.
        give_up: says that the worker has to go, and waits for nobody's lock.

    Attributes:
        claims: of every study that was worked on, by its name.
        server_gone: whether the fork server did not answer.
    """

    def __init__(
        self,
        storage: Storage,
        options: WorkerOptions,
        settings: Settings,
        me: WorkerRecord,
        connected_seconds: Callable[[], float],
        give_up: Callable[[], bool],
    ) -> None:
        self._storage, self._options, self._settings, self._me = storage, options, settings, me
        self._connected_seconds, self._give_up = connected_seconds, give_up
        self._control = Control(storage.engine)
        self._unready_until: dict[str, float] = {}
        self.claims: dict[str, Claims] = {}
        self.server_gone = False

    def take(self) -> Claim | None:
        """Take a trial of the study that has waited longest for a worker; say on the way what nobody has said."""
        for work in self._control.open_work(self._options.studies):
            deserted = any(map(self._is_deserter, work.holders))
            if not (work.gives or work.unsaid or deserted) or not self._is_ready(work):
                continue
            if claim := self._take_of(work, deserted):
                return claim
        return None

    def _take_of(self, work: OpenWork, deserted: bool) -> Claim | None:
        claims = self.claims[work.study]
        try:
            if work.gives or deserted:
                return claims.take(self._me.id)
            claims.publish()
        except KeyError:
            # Optuna's answer where a study is gone: whether it is, making the claims anew will say.
            del self.claims[work.study]
            if self._is_ready(work):
                raise
        return None

    def _is_deserter(self, holder: WorkerRecord) -> bool:
        """Return whether the holder of a trial does not work on it; this worker itself does not while it looks."""
        return holder.id == self._me.id or holder.has_left or self._is_dead(holder)

    def _is_ready(self, work: OpenWork) -> bool:
        """Return whether this machine can work on a study; look again where that is unknown or was long ago."""
        name = work.study
        if time.monotonic() < self._unready_until.get(name, 0.0):
            return False
        study = self._control.study(name)
        # Made anew when `hpo resume` has changed the cap, or another run the mode.
        if study is None or (name in self.claims and self.claims[name].stored_spec == study.spec):
            return study is not None
        try:
            claims = Claims(self._storage, study, self._is_dead, self._settings.home, self._give_up)
            if not self._options.prepared:
                arguments = (claims.declaration.readiness, claims.spec, study.prepared, self._settings.home)
                call(self._options.fork_address, "hpo.trial:check_ready", *arguments)
        except OSError:
            self.server_gone = True
            return False
        except (ValueError, ForkFailedError) as error:
            # A value error is wrong input, or a specification that a newer version has stored.
            said = str(error).strip().splitlines()[0]
            _LOG.warning("study %s is left to other machines: %s", name, said)
            self._control.raise_alert(self._me.host, f"{name} can't be worked on here: {said}")
            self._unready_until[name] = time.monotonic() + _UNREADY_SECONDS
            return False
        self.claims[name] = claims
        return True

    def _is_dead(self, worker: WorkerRecord) -> bool:
        silent = min(worker.silent_seconds, self._connected_seconds())
        return worker.id != self._me.id and is_dead(
            replace(worker, silent_seconds=silent), self._settings.lost_after_seconds
        )
