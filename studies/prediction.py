"""Probabilities of an ensemble for one decision at a time.

Every decision is computed alone, from exactly the last B rows, one window a forward pass, on one thread, and members
are added up in one order. So the same decision has the same bits in a replay, in a batch and in any other order.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from studies.checkpoint_contents import read_checkpoint
from studies.checkpoint_weights import load_weights
from studies.data.history import History
from studies.ensemble_file import EnsembleFile, MemberPart, read_ensemble
from studies.ensembling import combine
from studies.errors import EnsembleError
from studies.families import FAMILIES, WindowShape
from studies.members import member_weights

Floats = NDArray[np.float64]
Inputs = dict[str, Tensor]


class MemberModel:
    """One member, whose weights are read when they are first needed."""

    def __init__(self, part: MemberPart, shape: WindowShape, weights: Path) -> None:
        self._part, self._shape, self._weights = part, shape, weights
        self._network: nn.Module | None = None

    @property
    def network(self) -> nn.Module:
        """The network; it is read now where it is not in memory.

        Raises:
            CheckpointError: the weights can't be read or don't fit.
            EnsembleError: they are another member's.
        """
        if self._network is None:
            self._network = self._load()
        return self._network

    def probabilities(self, inputs: Inputs) -> Floats:
        """Return the probability [series] of one window."""
        with torch.inference_mode():
            logits = self.network(inputs)[0, -1]
        found: Floats = torch.sigmoid(logits.double()).numpy()
        return found

    def forget(self) -> None:
        """Give the memory of the network back."""
        self._network = None

    def _load(self) -> nn.Module:
        contents = read_checkpoint(self._weights)
        if contents.configuration["params"] != self._part.params:
            raise EnsembleError(
                f"the weights of a member must be those of its trial: {self._weights} is of another configuration than "
                f"trial {self._part.trial} of {self._part.study}; make the ensemble again"
            )
        family = FAMILIES[self._part.model]
        dropout = float(self._part.params["dropout"])
        network = family.build(self._part.architecture, self._shape, dropout, self._part.seed).eval()
        load_weights(network, self._weights)
        return network.requires_grad_(requires_grad=False)


class Predictor:
    """An ensemble that predicts; made by `open_predictor`.

    Attributes:
        file: what stands in `ensemble.json`.
        rows: B, the rows that a decision is made of, its own included.
    """

    def __init__(self, file: EnsembleFile, directory: Path) -> None:
        self.file, self._rules = file, file.input.rules
        self.rows = self._rules.rows
        self._models = [
            MemberModel(file.members[at], file.input.shape, member_weights(directory, at)) for at in file.used_members
        ]
        self._weights = {place: file.members[at].shares[file.used] for place, at in enumerate(file.used_members)}

    @property
    def series(self) -> tuple[str, ...]:
        """The series that it predicts."""
        return self.file.input.series

    def load(self) -> None:
        """Read the weights of all members now: a live trader loads before the market closes."""
        for model in self._models:
            _ = model.network

    def forget(self) -> None:
        """Give the memory of all members back; they are read again when they are needed."""
        for model in self._models:
            model.forget()

    def inputs(self, history: History) -> Inputs:
        """Return the window of the decision at the last row of a history of exactly B rows.

        Raises:
            DataError: an indicator is not finite.
        """
        return as_inputs(*self._rules.window_of(history))

    def members(self, inputs: Inputs) -> Floats:
        """Return every used member's probabilities [members, series] for one window."""
        return np.stack([model.probabilities(inputs) for model in self._models])

    def members_in_turn(self, windows: Sequence[Inputs]) -> Floats:
        """Return [windows, members, series] with one member in memory at a time; the bits are those of `members`."""
        found = []
        for model in self._models:
            found.append(np.stack([model.probabilities(inputs) for inputs in windows]))
            model.forget()
        return np.stack(found, axis=1)

    def together(self, members: Floats) -> Floats:
        """Return the ensemble's probabilities [series] from its members' [members, series]."""
        return combine(members, self._weights)

    def check_enough(self, history: History, first: int, origin: str) -> None:
        """Raise EnsembleError where the decision at row `first` has fewer than B rows."""
        if first + 1 < self.rows:
            day = str(history.dates[min(first, len(history) - 1)])[:10]
            raise EnsembleError(
                f"a prediction needs {self.rows} rows a series up to its date: {origin} has {first + 1} up to {day} "
                f"that all series share; give {self.rows - first - 1} earlier rows, or a later --from"
            )


def as_inputs(labels: NDArray[np.float32], features: NDArray[np.float32]) -> Inputs:
    """Return one window, labels [L, N] and features [L+H, N, F], as the batch of one that a network takes."""
    return {
        "insample_y": torch.from_numpy(np.ascontiguousarray(labels))[None],
        "futr_exog": torch.from_numpy(np.ascontiguousarray(features.transpose(2, 0, 1)))[None],
    }


def open_predictor(directory: Path) -> Predictor:
    """Open an ensemble; weights are read when they are first needed.

    Raises:
        EnsembleError: `directory` holds no ensemble that this version can use.
    """
    return Predictor(read_ensemble(directory), directory)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: with more, sums would be split, and the bits depend on the machine's load and cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
