"""The trials of a study by configuration, kept from one look at all of them to the next.

10,000 records lie scattered in memory: one question to each takes 3 to 12 ms, and before every proposal there were six.
A record never changes. So whoever keeps what it has seen asks only those that are others than the last time.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Sequence
from operator import is_not
from statistics import mean

from hpo.records import Key, Origin, TrialRecord, TrialState
from studies.spec import Direction


def changed_places(before: Sequence[TrialRecord], now: Sequence[TrialRecord]) -> list[int]:
    """Return where the records are not those of before, as far as both reach."""
    return [place for place, is_other in enumerate(map(is_not, before, now)) if is_other]


class Configurations:
    """What is known of trials, as `take_in` was last told them."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._seen: list[TrialRecord] = []
        self._of: dict[Key, list[TrialRecord]] = {}
        # Of each configuration that is evidence of search: how many trials are, and their mean with that of repeats.
        self._scored: dict[Key, tuple[int, float]] = {}
        self._ranked: list[float] = []
        self._unranked: set[Key] = set()
        self._complete = 0
        self.last_slot = 0
        """The highest that was ever taken, or 0."""
        self.has_repeats = False
        """Whether a trial repeats another one's configuration because it was told to."""

    def take_in(self, records: Sequence[TrialRecord]) -> None:
        """Learn all trials of a study, in an order in which new ones are the last."""
        try:
            self._take_in(records)
        except BaseException:
            # What is half learnt is forgotten.
            self._forget()
            raise

    def _take_in(self, records: Sequence[TrialRecord]) -> None:
        changed = changed_places(self._seen, records)
        if len(records) < len(self._seen) or not all(_is_same(self._seen[each], records[each]) for each in changed):
            # Other trials, and not news of these.
            self._forget()
            changed = []
        for place in changed:
            same = self._of[records[place].key]
            same[next(at for at, each in enumerate(same) if each is self._seen[place])] = records[place]
            self._unranked.add(records[place].key)
        for record in records[len(self._seen) :]:
            self._add(record)
        self._seen = list(records)

    def of(self, key: Key) -> Sequence[TrialRecord]:
        """Return the trials of a configuration."""
        return self._of.get(key, ())

    def complete(self) -> int:
        """Return how many trials are complete, repeats aside."""
        self._rank()
        return self._complete

    def best(self, count: int, direction: Direction) -> list[float]:
        """Return so many scores, or all, in rising order: of each configuration one, the mean where it has several."""
        self._rank()
        return self._ranked[-count:] if direction == "maximize" else self._ranked[:count]

    def _add(self, record: TrialRecord) -> None:
        same = self._of.setdefault(record.key, [])
        imported_again = record.origin is Origin.IMPORTED and any(each.origin is Origin.IMPORTED for each in same)
        self.has_repeats = self.has_repeats or record.origin is Origin.REPEAT or imported_again
        self.last_slot = max(self.last_slot, record.slot)
        same.append(record)
        self._unranked.add(record.key)

    def _rank(self) -> None:
        for key in self._unranked:
            known, before = self._scored.pop(key, (0, 0.0))
            if known:
                del self._ranked[bisect_left(self._ranked, before)]
            found = [each for each in self._of[key] if each.state is TrialState.COMPLETE]
            scores = [each.score for each in found if each.score is not None and math.isfinite(each.score)]
            # A repeat by itself is no evidence, as `hpo.repeats.once_each` has it.
            now = sum(each.origin is not Origin.REPEAT for each in found) if scores else 0
            if now:
                # An exact mean of a single score takes 5 µs.
                self._scored[key] = now, scores[0] if len(scores) == 1 else mean(scores)
                insort(self._ranked, self._scored[key][1])
            self._complete += now - known
        self._unranked = set()


def _is_same(before: TrialRecord, now: TrialRecord) -> bool:
    return (before.number, before.slot, before.origin, before.key) == (now.number, now.slot, now.origin, now.key)
