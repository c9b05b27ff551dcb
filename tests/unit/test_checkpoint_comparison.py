"""What differs between two checkpoints: configurations, weights, and what follows for going on."""

from pathlib import Path
from typing import Any

import pytest

from studies.checkpoint_comparison import compare, configuration_differences, parts_that_forbid_continuing
from studies.checkpoint_contents import CheckpointContents, Weight
from studies.checkpoint_weights import weight_differences

BLOCK = "encoder.layers.0.attention.query.weight"


def configuration(**changed: Any) -> dict[str, Any]:
    training = {"model": "itransformer", "max_steps": 12, **changed.pop("training", {})}
    steps = {key: value for key, value in training.items() if key != "model"}
    params = {"n_heads": 4, "learning_rate": 1e-3, **changed.pop("params", {})}
    spec = {
        "name": "one",
        "model": training["model"],
        "target": {"horizon": 1},
        "training": {**steps, "checkpoint_minutes": 10},
        **changed.pop("spec", {}),
    }
    return {
        **{"version": 1, "training": training, "data": "abc", "params": params, "seed": 1},
        **{"libraries": {"torch": "2.13.0"}, "spec": spec, "trial": 0, "attempt": 1, **changed},
    }


def contents(*weights: Weight, knows_trained: bool = True, **changed: Any) -> CheckpointContents:
    return CheckpointContents(Path("a"), configuration(**changed), 3, weights, knows_trained, 0, 0)


def differing(**changed: Any) -> list[tuple[str, Any, Any]]:
    found = configuration_differences(configuration(), configuration(**changed))
    return [(each.key, each.before, each.after) for each in found]


def test_equal_configurations_differ_in_nothing() -> None:
    assert differing() == []
    comparison = compare(contents(), contents())
    assert (comparison.loadable, comparison.continuable, comparison.cautions) == (True, True, ())


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"seed": 2}, [("seed", 1, 2)]),
        ({"params": {"n_heads": 8}}, [("params.n_heads", 4, 8)]),
        ({"params": {"d_model": 64}}, [("params.d_model", None, 64)]),
        ({"libraries": {"torch": "2.14.0"}}, [("libraries.torch", "2.13.0", "2.14.0")]),
        # It stands in two places, and is said once.
        ({"training": {"max_steps": 50}}, [("spec.training.max_steps", 12, 50)]),
        ({"training": {"model": "patchtst"}}, [("spec.model", "itransformer", "patchtst")]),
    ],
    ids=["seed", "changed", "new", "libraries", "training", "model"],
)
def test_every_value_that_differs_is_named_once(changed: dict[str, Any], expected: list[tuple[str, Any, Any]]) -> None:
    assert differing(**changed) == expected


@pytest.mark.parametrize(
    ("changed", "parts"),
    [
        ({}, ()),
        ({"trial": 4, "attempt": 2}, ()),
        # What decides the search alone.
        ({"spec": {"trials": 100}}, ()),
        ({"seed": 2, "data": "def"}, ("data", "seed")),
        ({"version": 2}, ("version",)),
        ({"training": {"max_steps": 13}}, ("training",)),
        ({"params": {"learning_rate": 1e-4}, "libraries": {}}, ("params", "libraries")),
    ],
)
def test_a_training_goes_on_only_by_the_same_configuration(changed: dict[str, Any], parts: tuple[str, ...]) -> None:
    assert parts_that_forbid_continuing(configuration(), configuration(**changed)) == parts
    assert compare(contents(), contents(**changed)).continuable is (not parts)


def test_weights_differ_by_being_missing_unexpected_or_of_another_shape() -> None:
    offered = {BLOCK: (64, 64), "norm.weight": (64,), "old.bias": (3,), "scale": ()}
    needed = {"head.weight": (1, 64), BLOCK: (256, 256), "norm.weight": (64,), "scale": ()}
    found = weight_differences(offered, needed)
    assert [each.kind for each in found] == ["missing", "shape", "unexpected"]
    assert [str(each) for each in found] == [
        "head.weight 1x64 is missing",
        f"{BLOCK} 64x64 against 256x256",
        "old.bias 3 is unexpected",
    ]
    assert weight_differences(offered, offered) == ()


def test_shapes_that_fit_may_still_mean_something_else() -> None:
    def cautions(**changed: Any) -> tuple[str, ...]:
        weight = Weight(BLOCK, (64, 64), "float32", 4)
        comparison = compare(contents(weight), contents(weight, **changed))
        assert comparison.loadable
        return comparison.cautions

    assert cautions(params={"learning_rate": 1e-5}, seed=3) == ()
    assert cautions(params={"n_heads": 8}) == ("they attend otherwise with another number of heads",)
    assert cautions(data="def") == ("they know other data",)
    assert cautions(spec={"target": {"horizon": 2}}) == ("they predict something else",)


def test_weights_are_counted_by_layer_and_those_not_trained_apart() -> None:
    found = contents(
        Weight("loss.quantiles", (5,), "float32", 4, trained=False),
        Weight("embedding.weight", (8, 4), "float32", 4),
        Weight("embedding.bias", (8,), "float32", 4),
        Weight("encoder.layers.0.attention.query.weight", (8, 8), "bfloat16", 2),
        Weight("encoder.layers.0.norm.weight", (8,), "bfloat16", 2),
        Weight("encoder.layers.10.norm.weight", (8,), "bfloat16", 2),
        Weight("scale", (), "float32", 4),
        params={"exact_params": 121},
    )
    assert [(layer.name, layer.parameters) for layer in found.layers] == [
        ("loss", 0),
        ("embedding", 40),
        ("encoder.layers.0", 72),
        ("encoder.layers.10", 8),
        ("scale", 1),
    ]
    assert sum(map(found.share, found.layers)) == pytest.approx(1)
    assert (found.parameters, found.weight_bytes) == (121, 4 * 5 + 4 * 40 + 2 * 80 + 4)
    assert found.dtypes == ("bfloat16", "float32")


@pytest.mark.parametrize(
    ("recorded", "knows_trained", "agrees"), [(8, True, True), (9, True, False), (None, True, None), (8, False, None)]
)
def test_the_count_is_compared_with_what_the_configuration_says(
    recorded: int | None, knows_trained: bool, agrees: bool | None
) -> None:
    params = {"exact_params": recorded}
    weight = Weight("norm.weight", (8,), "float32", 4)
    assert contents(weight, knows_trained=knows_trained, params=params).count_agrees is agrees
