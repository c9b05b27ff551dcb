"""A running trial, watched by its worker: whether it is hopeless against those of its group that have ended."""

import time
from collections import deque

from hpo.claims import Claim
from hpo.control import Control
from hpo.pruning import Curve, PruningRule, may_be_pruned
from studies.declaration import declare

# How long curves that were read stand for those in the database, in seconds: an objective may report at every step.
_FRESH_SECONDS = 5.0


class TrialWatch:
    """Takes in the looks of one trial."""

    def __init__(self, control: Control, claim: Claim) -> None:
        self._control, self._claim = control, claim
        self._compared_within = declare(claim.spec).compared_within
        self._active = claim.spec.pruning.enabled and may_be_pruned(claim.trial, claim.spec.seed)
        self._curve = Curve()
        self._peers: list[Curve] = []
        self._read_at = -_FRESH_SECONDS
        if self._active:
            self._rule = PruningRule.of(claim.spec)
            self._looks: deque[tuple[int, float]] = deque(maxlen=self._rule.patience)

    def look(self, value: float, step: int) -> str:
        """Return why the trial is hopeless after this look, once; nothing where it goes on.

        Raises:
            Exception: of the database, where it is away. The look itself is remembered.
        """
        if not self._active or step <= self._curve.last_step:
            return ""
        self._curve = self._curve.after(step, value, self._claim.spec.direction)
        self._looks.append(self._curve.points[-1])
        found = self._rule.judge(tuple(self._looks), self._ended_peers())
        self._active = found is None
        return str(found or "")

    def _ended_peers(self) -> list[Curve]:
        if time.monotonic() - self._read_at >= _FRESH_SECONDS:
            within, params = self._compared_within, self._claim.trial.params
            value = None if within is None else params.get(within)
            self._peers = self._control.curves(self._claim.study, within, value)
            self._read_at = time.monotonic()
        return self._peers
