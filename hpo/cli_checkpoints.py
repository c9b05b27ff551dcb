"""`hpo inspect` and `hpo compare`: what checkpoints hold, and how two of them differ."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hpo.output import Json, Storage, print_json

if TYPE_CHECKING:
    from studies.checkpoint_comparison import Comparison
    from studies.checkpoint_contents import CheckpointContents, Layer

Flag = Annotated[bool, Parameter(negative="")]

_TRIAL = re.compile(r"(?P<study>[^#]+)#(?P<number>\d{1,9})", re.ASCII)


def inspect(checkpoint: str, /, *, layers: Flag = False, storage: Storage = None, json_output: Json = False) -> int:
    """Show a checkpoint's configuration, its parameters by layer, and its size. No code in it is run.

    While a trial has not ended, its checkpoint is HPO_HOME/checkpoints/STUDY/slot-NNNNN/training.ckpt on the machine
    that trains it.

    hpo inspect quickstart#3

    hpo inspect training.ckpt --layers

    Args:
        checkpoint: A file, or STUDY#TRIAL for that of a trial.
        layers: List every tensor with its shape.
    """
    from studies.checkpoint_contents import read_checkpoint

    found = read_checkpoint(_path(checkpoint, storage))
    if json_output:
        print_json(_contents_json(found))
    else:
        from hpo.checkpoint_view import print_contents

        print_contents(found, every_tensor=layers)
    return 0


def compare(
    first: str, second: str, /, *, layers: Flag = False, storage: Storage = None, json_output: Json = False
) -> int:
    """Show what differs between two checkpoints, and whether weights or a training can go from one to the other.

    Weights can be loaded where all layers have the same names and shapes. A training goes on only from a checkpoint of
    the same training, data, parameters, seed and libraries.

    hpo compare quickstart#3 quickstart#5

    hpo compare old/training.ckpt new/training.ckpt

    Args:
        first: A: a file, or STUDY#TRIAL for the checkpoint of a trial that has not ended.
        second: B, in the same way.
        layers: List every tensor that differs, not the first few.
    """
    from studies.checkpoint_comparison import compare as comparison_of
    from studies.checkpoint_contents import read_checkpoint

    found = [read_checkpoint(_path(name, storage)) for name in (first, second)]
    comparison = comparison_of(*found)
    if json_output:
        print_json({"a": _summary_json(found[0]), "b": _summary_json(found[1]), **_comparison_json(comparison)})
    else:
        from hpo.checkpoint_view import print_comparison

        print_comparison(found[0], found[1], comparison, every_tensor=layers)
    return 0


def _path(name: str, storage: str | None) -> Path:
    """Return the file that is meant; a file that is there goes before a trial of that name."""
    trial, path = _TRIAL.fullmatch(name), Path(name)
    if trial is None or path.exists():
        return path
    from hpo import app as service
    from hpo.settings import load_settings

    return service.checkpoint(load_settings(), storage, trial["study"], int(trial["number"]))


def _summary_json(found: "CheckpointContents") -> dict[str, Any]:
    return {
        "path": str(found.path),
        "step": found.step,
        "parameters": found.parameters,
        "recorded_parameters": found.recorded_parameters,
        "count_agrees": found.count_agrees,
        "dtypes": list(found.dtypes),
        "bytes": {"file": found.file_bytes, "weights": found.weight_bytes, "optimizer": found.moment_bytes},
    }


def _contents_json(found: "CheckpointContents") -> dict[str, Any]:
    return {
        **_summary_json(found),
        "layers": [_layer_json(layer, found.share(layer)) for layer in found.layers],
        "configuration": found.configuration,
    }


def _layer_json(layer: "Layer", share: float) -> dict[str, Any]:
    weights = [
        {"name": each.name, "shape": list(each.shape), "count": each.count}
        | {"dtype": each.dtype, "trained": each.trained}
        for each in layer.weights
    ]
    return {"name": layer.name, "parameters": layer.parameters, "share": round(share, 6), "weights": weights}


def _comparison_json(comparison: "Comparison") -> dict[str, Any]:
    return {
        "configuration": [{"key": each.key, "a": each.before, "b": each.after} for each in comparison.configuration],
        "weights": {
            "loadable": comparison.loadable,
            "differences": [
                {"name": each.name, "kind": each.kind, "a": each.offered, "b": each.needed}
                for each in comparison.weights
            ],
            "cautions": list(comparison.cautions),
        },
        "continuing": {"possible": comparison.continuable, "differs_in": list(comparison.forbids_continuing)},
    }
