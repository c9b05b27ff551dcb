"""What a checkpoint of the built-in training holds, read without running anything that stands in it.

A checkpoint is an untrusted file: it may come from another machine or another person. So it is read with torch's
`weights_only`, which knows tensors, numbers, strings, lists and dictionaries and refuses everything else, and its
sums are checked, which torch itself doesn't do. To look at one, the file is mapped and the weights stay on the disk.

Nothing here needs Lightning or NeuralForecast; torch is loaded when a file is read.
"""

import json
import pickle
import re
import stat
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from math import prod
from pathlib import Path
from typing import Any, Final

from studies.errors import CheckpointError

#: Raised whenever a checkpoint changes its meaning.
CHECKPOINT_VERSION: Final = 2
#: What a checkpoint's file is called.
CHECKPOINT_NAME: Final = "training.ckpt"
#: What the weights of a trial's best look are called: a checkpoint that no training goes on from.
WEIGHTS_NAME: Final = "weights.ckpt"
#: What must be equal for a training to go on from a checkpoint; the number and the attempt may differ, and so may what
#: decides the search alone, such as the cap.
DECISIVE: Final = ("version", "training", "data", "params", "seed", "libraries")

_KEYS = {*DECISIVE, "spec", "trial", "attempt"}
_TABLES = ("training", "params", "libraries", "spec")
# The classifier that is trained holds the family's network under this name.
_NETWORK = "network."
_NUMBERED = re.compile(r"(?:.*?\.)?\d+(?=\.)")
_ZIP_BEGINS = b"PK\x03\x04"


@dataclass(frozen=True)
class Weight:
    """One tensor of a network.

    Attributes:
        name: as the network calls it, such as `encoder.norm.weight`.
        item_bytes: of one number in it.
        trained: whether the optimizer changes it; a constant and a running mean it does not.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    item_bytes: int
    trained: bool = True

    @property
    def count(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)


@dataclass(frozen=True)
class Layer:
    """The tensors of one module: of a numbered block all of them, elsewhere those with a name in common."""

    name: str
    weights: tuple[Weight, ...]

    @property
    def parameters(self) -> int:
        """How many trained parameters it has."""
        return sum(weight.count for weight in self.weights if weight.trained)


@dataclass(frozen=True)
class CheckpointContents:
    """A checkpoint without its numbers.

    Attributes:
        configuration: all that the training was begun with, as JSON types.
        step: optimizer steps that are done.
        weights: in the network's order.
        knows_trained: whether the file says which of them are trained.
        moment_bytes: of what the optimizer keeps beside the weights.
        file_bytes: on the disk.
    """

    path: Path
    configuration: Mapping[str, Any]
    step: int
    weights: tuple[Weight, ...]
    knows_trained: bool
    moment_bytes: int
    file_bytes: int

    @property
    def parameters(self) -> int:
        """How many trained parameters the network has."""
        return sum(weight.count for weight in self.weights if weight.trained)

    @property
    def weight_bytes(self) -> int:
        """Of all weights, those that are not trained included."""
        return sum(weight.count * weight.item_bytes for weight in self.weights)

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The kinds of numbers that the trained weights are stored in."""
        return tuple(sorted({weight.dtype for weight in self.weights if weight.trained}))

    @property
    def recorded_parameters(self) -> int | None:
        """The exact count in the configuration, where it has one."""
        recorded = self.configuration["params"].get("exact_params")
        return recorded if isinstance(recorded, int) else None

    @property
    def count_agrees(self) -> bool | None:
        """Whether the weights are as many as the configuration says; None where the file doesn't tell."""
        recorded = self.recorded_parameters
        return None if recorded is None or not self.knows_trained else recorded == self.parameters

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The weights by layer, in the network's order."""
        grouped = groupby(self.weights, lambda weight: _layer_of(weight.name))
        return tuple(Layer(name, tuple(weights)) for name, weights in grouped)

    def share(self, layer: Layer) -> float:
        """Return a layer's part of all trained parameters, from 0 to 1."""
        return layer.parameters / self.parameters if self.parameters else 0.0


def read_checkpoint(path: Path) -> CheckpointContents:
    """Return what a checkpoint holds; the weights stay on the disk.

    Raises:
        CheckpointError: the file can't be read, is damaged, holds code, or was not written by the built-in training.
    """
    content = read_content(path, mapped=True)
    trained = content.get("trained")
    try:
        weights = tuple(
            _weight(name.removeprefix(_NETWORK), tensor, trained=trained is None or name in trained)
            for name, tensor in content["state_dict"].items()
        )
        return CheckpointContents(
            path=path,
            configuration=content["configuration"],
            step=int(content["global_step"]),
            weights=weights,
            knows_trained=trained is not None,
            moment_bytes=_moment_bytes(content["optimizer_states"]),
            file_bytes=path.stat().st_size,
        )
    # Content that is well-formed may still mean nothing, in more ways than can be listed.
    except Exception as error:
        raise _foreign(path, f"its weights or its optimizer's state can't be understood ({_brief(error)})") from None


def read_weights(path: Path) -> dict[str, Any]:
    """Return the weights of a checkpoint by their names in the network, mapped from the disk.

    Raises:
        CheckpointError: as `read_checkpoint`.
    """
    weights = read_content(path, mapped=True)["state_dict"]
    return {name.removeprefix(_NETWORK): tensor for name, tensor in weights.items()}


def read_content(path: Path, *, mapped: bool) -> dict[str, Any]:
    """Return everything that a whole and harmless checkpoint holds.

    Args:
        path: of the file.
        mapped: leave tensors on the disk until they are used; then the file must stay as it is.

    Raises:
        CheckpointError: there is none that can be used.
    """
    import torch

    _refuse_what_is_no_file(path)
    _refuse_what_is_no_archive(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        fault = _fault(content)
    except pickle.UnpicklingError:
        raise _refused(path) from None
    # A file made to do harm may raise anything.
    except Exception as error:
        raise _foreign(path, f"torch can't read it ({_brief(error)})") from None
    if fault:
        raise _foreign(path, fault)
    whole: dict[str, Any] = content
    return whole


def _refuse_what_is_no_file(path: Path) -> None:
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            with path.open("rb"):
                return
    except FileNotFoundError:
        raise CheckpointError(
            f"a checkpoint must be there to be read, {path} is not: correct the path; that of a trial is removed when "
            "the trial has ended"
        ) from None
    except OSError as error:
        raise CheckpointError(
            f"a checkpoint must be readable, {path} is not ({error.strerror}): correct the path or its permissions"
        ) from None
    if stat.S_ISDIR(mode):
        raise CheckpointError(f"a checkpoint is a file, {path} is a folder: name the {CHECKPOINT_NAME} in it")
    raise CheckpointError(f"a checkpoint is a file on the disk, {path} is none: copy it to one")


def _refuse_what_is_no_archive(path: Path) -> None:
    """Check the archive's form and its sums; they are read once, a megabyte at a time."""
    try:
        with zipfile.ZipFile(path) as archive:
            # Torch compresses nothing, and what is compressed might be a million times as large.
            foreign = any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())
            damaged = None if foreign else archive.testzip()
    except Exception as error:
        with path.open("rb") as file:
            begun = file.read(4) == _ZIP_BEGINS
        if begun:
            raise CheckpointError(
                f"a checkpoint must be whole, {path} is cut off or damaged: copy it again, or take an earlier one"
            ) from None
        raise _foreign(path, f"it is no archive of torch ({_brief(error)})") from None
    if foreign:
        raise _foreign(path, "it is a compressed archive")
    if damaged is not None:
        raise CheckpointError(
            f"a checkpoint must be whole, {path} is damaged in {damaged!r}: copy it again, or take an earlier one"
        )


def _refused(path: Path) -> CheckpointError:
    """Return the error for a file that asks for more than tensors and plain values, with what it asks for."""
    import torch

    named: list[str] = []
    # Looked up in the file, not called.
    with suppress(Exception):
        named = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    what = f" and asks to call {', '.join(ascii(name)[1:-1] for name in named[:3])}" if named else ""
    return CheckpointError(
        f"a checkpoint holds tensors and plain values alone, {path} holds something else{what}: "
        "nothing in it was run; don't load it with other tools, take one that hpo wrote"
    )


def _fault(content: object) -> str:
    """Return what keeps a content from being a checkpoint of the built-in training; empty where nothing does."""
    if not isinstance(content, dict) or not {"state_dict", "global_step", "optimizer_states"} <= content.keys():
        return "it holds no weights, optimizer and step of a training"
    configuration, weights = content.get("configuration"), content["state_dict"]
    if not isinstance(configuration, dict):
        return "it holds no configuration"
    fault = _configuration_fault(configuration)
    names = [*weights, *content.get("trained", ())] if isinstance(weights, dict) else [None]
    # A name is shown on the screen, where an escape sequence would be obeyed.
    if not fault and not all(isinstance(name, str) and name.isprintable() for name in names):
        return "its layers have no printable names"
    return fault


def _configuration_fault(configuration: Mapping[str, Any]) -> str:
    version, missing = configuration.get("version"), sorted(_KEYS - configuration.keys())
    # One of a newer version may lack any key and hold any other.
    if isinstance(version, int) and version > CHECKPOINT_VERSION:
        return f"it is of version {version}, and this hpo reads up to {CHECKPOINT_VERSION}"
    if missing:
        return f"its configuration lacks {missing[0]}"
    # What is no plain value has no business there, and could not be shown.
    plain = json.loads(json.dumps(configuration)) == configuration
    if not plain or not isinstance(version, int) or not all(isinstance(configuration[key], dict) for key in _TABLES):
        return "its configuration is no table of plain values"
    return ""


def _foreign(path: Path, fault: str) -> CheckpointError:
    remedy = "update hpo" if "of version" in fault else f"name a {CHECKPOINT_NAME} that hpo wrote"
    return CheckpointError(f"a checkpoint must be one of hpo's built-in training, {path} is not, {fault}: {remedy}")


def _brief(error: Exception) -> str:
    lines = str(error).split("\n", maxsplit=1)
    return ascii(lines[0][:80])[1:-1] or type(error).__name__


def _weight(name: str, tensor: Any, *, trained: bool) -> Weight:  # noqa: ANN401  a tensor
    dtype = str(tensor.dtype).removeprefix("torch.")
    return Weight(name, tuple(tensor.shape), dtype, tensor.element_size(), trained)


def _moment_bytes(states: Any) -> int:  # noqa: ANN401  the list of optimizers
    kept = [
        value for state in states for each in state["state"].values() for key, value in each.items() if key != "step"
    ]
    return sum(tensor.numel() * tensor.element_size() for tensor in kept)


def _layer_of(name: str) -> str:
    """Return `encoder.attn_layers.0` for all that stands below it, and the module's name for everything else."""
    numbered = _NUMBERED.match(name)
    return numbered[0] if numbered else name.rpartition(".")[0] or name
