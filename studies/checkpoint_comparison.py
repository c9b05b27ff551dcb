"""What differs between two checkpoints, and what follows from that for the weights and for going on training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from studies.checkpoint_contents import DECISIVE, CheckpointContents
from studies.checkpoint_weights import Shape, WeightDifference, weight_differences
from studies.spec import leaves

# Values that no shape shows: with others the same weights fit and yet mean something else.
_MEANING = {
    "params.n_heads": "they attend otherwise with another number of heads",
    "spec.model": "they belong to another family of models",
    "spec.target.": "they predict something else",
    "data": "they know other data",
}


@dataclass(frozen=True)
class Difference:
    """One value of two configurations, by its dotted key; None where one has no such value."""

    key: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Comparison:
    """Two checkpoints, A and B, side by side.

    Attributes:
        configuration: the values that differ.
        weights: what keeps the weights of A from being loaded into the network of B.
        cautions: what would be wrong with weights that can be loaded.
        forbids_continuing: the parts of the configuration by which B's training can't go on from A.
    """

    configuration: tuple[Difference, ...]
    weights: tuple[WeightDifference, ...]
    cautions: tuple[str, ...]
    forbids_continuing: tuple[str, ...]

    @property
    def loadable(self) -> bool:
        """Whether the weights of either can be loaded into the network of the other."""
        return not self.weights

    @property
    def continuable(self) -> bool:
        """Whether a training by B's configuration goes on from A, and then also the other way round."""
        return not self.forbids_continuing


def compare(first: CheckpointContents, second: CheckpointContents) -> Comparison:
    """Return what differs between two checkpoints."""
    different = configuration_differences(first.configuration, second.configuration)
    weights = weight_differences(_shapes(first), _shapes(second))
    return Comparison(
        configuration=different,
        weights=weights,
        cautions=() if weights else _cautions(different),
        forbids_continuing=parts_that_forbid_continuing(first.configuration, second.configuration),
    )


def configuration_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Return every value in which two configurations differ, each once, in the order of their keys."""
    old, new = dict(leaves(before)), dict(leaves(after))
    different = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    # How a model is trained stands in the specification as well, and there under the name that the user gave it.
    twice = {key for key in different if key.startswith("training.") and _in_spec(key) in different}
    return tuple(Difference(key, old.get(key), new.get(key)) for key in different if key not in twice)


def parts_that_forbid_continuing(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the parts of a configuration that keep its training from going on from a checkpoint of another one."""
    return tuple(key for key in DECISIVE if found.get(key) != wanted.get(key))


def _in_spec(key: str) -> str:
    return "spec.model" if key == "training.model" else f"spec.{key}"


def _cautions(different: tuple[Difference, ...]) -> tuple[str, ...]:
    found = {
        meaning: None
        for difference in different
        for key, meaning in _MEANING.items()
        if difference.key == key or (key.endswith(".") and difference.key.startswith(key))
    }
    return tuple(found)


def _shapes(contents: CheckpointContents) -> dict[str, Shape]:
    return {weight.name: weight.shape for weight in contents.weights}
