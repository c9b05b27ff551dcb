"""`hpo size`, called as from the command line."""

import json
from typing import Any

import pytest

from hpo.cli import execute
from studies.families import FAMILIES


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert execute(["size", *arguments]) == 0
    return capsys.readouterr().out


def found(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return json.loads(printed(capsys, *arguments, "--json"))


def test_a_shape_comes_with_its_counts_memory_and_cost(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("transformer", "--budget", "2M", "--aspect", "160", "--multiple", "64")
    (shape,) = found(capsys, *arguments)["shapes"]
    assert (shape["d_model"], shape["n_layers"], shape["n_heads"], shape["d_ff"]) == (320, 2, 4, 1280)
    assert (shape["estimated_params"], shape["exact_params"]) == (2_457_600, 2_519_041)
    assert sum(shape["groups"].values()) == shape["exact_params"]
    assert shape["weight_bytes"] == 4 * 2_519_041
    assert "2,519,041" in printed(capsys, *arguments)


@pytest.mark.parametrize("model", FAMILIES)
def test_every_family_has_a_size(capsys: pytest.CaptureFixture[str], model: str) -> None:
    report = found(capsys, "transformer", "--budget", "20M", "--model", model)
    assert report["model"] == model
    for shape in report["shapes"]:
        assert sum(shape["groups"].values()) == shape["exact_params"] > 0
        assert shape["training_flops_per_token"] > 0
        assert shape["d_ff"] == (None if model == "tft" else 4 * shape["d_model"])
    assert model in printed(capsys, "transformer", "--budget", "20M", "--model", model)
    assert "d_ff" not in printed(capsys, "transformer", "--budget", "2M", "--model", "tft", "--aspect", "100")


def test_shapes_that_a_family_does_not_take_are_left_out_of_the_curve(capsys: pytest.CaptureFixture[str]) -> None:
    shapes = found(capsys, "transformer", "--budget", "2M", "--model", "fedformer")["shapes"]
    assert {shape["n_heads"] for shape in shapes} == {8}
    assert min(shape["n_layers"] for shape in shapes) == 2


@pytest.mark.parametrize("command", ["run", "size transformer"])
def test_the_help_names_every_family(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert execute([*command.split(), "--help"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in FAMILIES)


def test_without_an_aspect_the_shapes_go_from_wide_to_deep(capsys: pytest.CaptureFixture[str]) -> None:
    shapes = found(capsys, "transformer", "--budget", "200M")["shapes"]
    assert [shape["n_layers"] for shape in shapes] == sorted({shape["n_layers"] for shape in shapes})
    assert len(shapes) <= 12


def test_a_perceptron_is_counted_layer_by_layer(capsys: pytest.CaptureFixture[str]) -> None:
    size = found(capsys, "mlp", "--obs-dim", "5300", "--hidden-dims", "1024", "512", "256")
    assert size["layers"][0] == {
        **{"name": "layer 1", "inputs": 5300, "outputs": 1024},
        **{"params": 5_427_200, "biases": 1024, "share": 0.8875},
    }
    assert (size["params"], size["checkpoint_bytes"]) == (6_115_328, 12 * 6_115_328)
    assert found(capsys, "mlp", "--tier", "low")["hidden_dims"] == [256, 128, 64]
    assert len(found(capsys, "mlp")) == 11


@pytest.mark.parametrize(
    "arguments",
    [
        "transformer --budget 20M",
        "transformer --budget 750k --model vanillatransformer",
        "transformer --budget 20M --aspect 60",
        "mlp",
        "mlp --tier H100",
    ],
)
def test_what_is_printed_fits_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert max(map(len, printed(capsys, *arguments.split()).splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["transformer", "--budget", "many"], "many"),
        (["transformer", "--budget", "2M", "--aspect", "9000"], "9000"),
        (["transformer", "--budget", "2M", "--rounding", "off"], "off"),
        (["transformer", "--budget", "2M", "--data-tier", "a7"], "a7"),
        (["transformer"], "--budget"),
        (["transformer", "--budget", "2M", "--model", "gpt"], "gpt"),
        (["transformer", "--budget", "2M", "--model", "patchtst", "--data-tier", "a20"], "takes no covariates"),
        (["transformer", "--budget", "2M", "--model", "fedformer", "--heads", "4"], "n_heads=8 alone, not 4"),
        (["transformer", "--budget", "2M", "--model", "timexer", "--window", "90"], "80 or 96"),
        (["transformer", "--budget", "2M", "--model", "informer", "--aspect", "400"], "n_layers=1"),
        (["mlp", "--hidden-dims", "0"], "0"),
        (["mlp", "--hidden-dims", "8", "--tier", "low"], "one of them"),
        (["mlp", "--tier", "huge"], "huge"),
    ],
)
def test_wrong_input_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    assert execute(["size", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert said in err
