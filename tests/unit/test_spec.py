"""Specifications: defaults, mistakes, fingerprints."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from studies.declaration import architecture_values, declare, derive, supplement
from studies.errors import SpecError
from studies.families import FAMILIES, ModelName
from studies.reading import built_in_names, read_spec
from studies.spec import Spec, differences


def write(directory: Path, text: str) -> str:
    path = directory / "study.yaml"
    path.write_text(text)
    return str(path)


def test_the_built_in_studies_are_valid() -> None:
    assert built_in_names() == ("itransformer-a200", "quickstart")
    for name in built_in_names():
        assert read_spec(name).name == name


def test_the_example_of_the_design_is_understood(tmp_path: Path) -> None:
    spec = read_spec(
        write(
            tmp_path,
            """
name: spx-direction
objective: neuralforecast
model: itransformer
data: {example: indices, tier: a20}
target: {horizon: 1, threshold: 0.01, kind: touch}
budgets: [750k, 2M]
trials: 70
forced_extremes: true
early_stop: {patience: 20, threshold: 0.02, top_k: 5}
training: {max_steps: 300, window: 80, precision: auto}
max_attempts: 3
""",
        )
    )
    assert (spec.trials, spec.budgets, spec.early_stop.patience) == (70, ("750k", "2M"), 20)


MISTAKES = [
    ("trails: 70", "line 2: unknown key 'trails', did you mean 'trials'?"),
    ("early_stop: {patiance: 3}", "line 2: unknown key 'early_stop.patiance', did you mean 'patience'?"),
    ("trials: many", "line 2: trials should be a valid integer, not 'many'"),
    ("trials: 0", "line 2: trials should be greater than or equal to 1, not 0"),
    ("budgets: []", "line 2: budgets: the list of budgets is empty"),
    ("budgets: [2M, 3M]", "line 2: budgets.1: unknown budget '3M': choose among 750k, 2M, 20M, 200M"),
    ("trials: 5", "trials=5 is below the 18 forced configurations"),
    ("data: {example: indices, path: x.csv}", "data has one source, not both"),
    ("data: {example: indices, tier: a30}", "data.tier should be 'none', 'a20', 'a50', 'a100' or 'a200', not 'a30'"),
    (
        "architectures: {2M: {deep: {d_model: 100, n_layers: 2, n_heads: 3}}}",
        "n_heads must divide d_model, but d_model=100 and n_heads=3",
    ),
    ("training: {effective_batch: 64, micro_batch: 48}", "effective_batch must be a multiple of micro_batch"),
    ("objective: not a path", "objective is neuralforecast or package.module:callable, not 'not a path'"),
    ("early_stop: {threshold: .nan}", "early_stop.threshold should be a finite number"),
    ("trials: [", "is not YAML"),
    ("model: gpt", "model should be 'itransformer', 'patchtst', 'vanillatransformer'"),
    ("model: patchtst", "model patchtst (750k shallow) takes no covariates, and data.tier asks for indicators: set "),
    (
        "model: fedformer\narchitectures: {750k: {deep: {d_model: 60, n_layers: 3, n_heads: 4}}}",
        "model fedformer (750k deep) is built with n_heads=8 alone, not 4: take {d_model: 64, n_layers: 3, n_heads: 8}",
    ),
    (
        "model: fedformer\nbudgets: [20M]\nphase2: {n_heads: [1, 4]}",
        "model fedformer is built with n_heads=8 alone, and phase2.n_heads goes from 1 to 4: leave it out",
    ),
    (
        "model: informer\narchitectures: {2M: {shallow: {d_model: 64, n_layers: 1, n_heads: 2}}}",
        "model informer (2M shallow) has an encoder and a decoder of at least one layer each, not n_layers=1: take ",
    ),
    (
        "model: vanillatransformer\narchitectures: {2M: {deep: {d_model: 63, n_layers: 2, n_heads: 3}}}",
        "model vanillatransformer (2M deep) places its rows by pairs of sine and cosine, so d_model is even, not 63",
    ),
    (
        "model: vanillatransformer\ntraining: {window: 5001}",
        "places 5,000 rows at most, and this window takes 5,001: shorten training.window or target.horizon",
    ),
    (
        "model: autoformer\ntraining: {window: 3}",
        "takes the best 3 of at most 2 delays of 3 rows, from training.window 3: set training.window to 5 or more",
    ),
    (
        "model: timexer\ntraining: {window: 90}",
        "reads whole patches of 16 rows, and of training.window 90 the newest 10 would be lost: set training.window to "
        "80 or 96",
    ),
    ("direction: minimize", "is an AUC, not to be minimized"),
    ("trials: 30\ntrials: 40", "line 3 is not YAML: the key 'trials' stands here twice"),
    ("early_stop: {patience: yes}", "line 2: early_stop.patience: a number is needed, not yes or true"),
    ("seed: 4294967296", "seed should be less than or equal to 2000000000"),
    ("name: a/b", "line 2: a slash in name 'a/b' is written by `hpo phase2`: leave it out"),
    ("name: a/phase2/2M", "line 2: a slash in name 'a/phase2/2M' is written by `hpo phase2`: leave it out"),
    (
        "supplementary: {of: a, trial: 0, style: deep, dropout: 0.5, n_heads: 4, learning_rate: 1e-4, "
        "weight_decay: 0.05, effective_batch: 64}",
        "line 2: supplementary is written by `hpo phase2`: leave it out",
    ),
    ("phase2: {learning_rate: [0, 1]}", "line 2: phase2: learning_rate is above 0, not 0"),
    ("phase2: {n_heads: [0, 4]}", "line 2: phase2: n_heads is above 0, not 0"),
    ("phase2: {weight_decay: [-1, 1]}", "line 2: phase2: weight_decay is 0 or more, not -1"),
    ("phase2: {weight_decay: [0.2, 0.1]}", "weight_decay goes from a low to a high value, not from 0.2 to 0.1"),
]


@pytest.mark.parametrize(("line", "message"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_a_mistake_is_one_line_that_names_key_and_place(tmp_path: Path, line: str, message: str) -> None:
    head = "" if line.startswith("name") else "name: mine"
    with pytest.raises(SpecError) as refused:
        read_spec(write(tmp_path, f"{head}\n{line}\n"))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith("study.yaml")


@pytest.mark.parametrize("model", FAMILIES)
def test_every_family_is_taken_with_what_it_can_take(model: str) -> None:
    data = {"tier": "none" if model == "patchtst" else "a20"}
    spec = read_spec("quickstart", {"model": model, "data": data, "budgets": ["20M"]})
    assert spec.model == model
    assert read_spec("quickstart", {"model": model, "data": {"tier": "none"}, "budgets": ["20M"]}).data.tier == "none"


def test_the_names_of_the_families_are_those_that_a_specification_takes() -> None:
    assert get_args(ModelName) == tuple(FAMILIES)
    assert Spec.model_fields["model"].annotation == ModelName


def test_a_study_with_an_objective_of_its_own_is_not_asked_what_a_family_takes() -> None:
    assert read_spec("quickstart", {"model": "fedformer", "objective": "math:sqrt"}).model == "fedformer"


def test_phase_2_searches_no_heads_that_a_family_does_not_take() -> None:
    spec = read_spec("quickstart", {"model": "fedformer", "budgets": ["20M"]})
    best = Best(
        number=3, params={"budget": "20M", "style": "deep", "dropout": 0.3, "learning_rate": 1e-4, "weight_decay": 0.0}
    )
    corners = supplement(spec, "20M", best, trials=20)
    assert corners.ranges.n_heads == (8, 8)
    assert {dict(design.params)["n_heads_log2"] for design in declare(corners).forced} == {3}


@dataclass(frozen=True)
class Best:
    """The best trial of Phase 1."""

    number: int
    params: dict[str, Any]
    seed: int = 1
    score: float = 0.7


def test_a_model_without_feed_forward_has_no_d_ff() -> None:
    spec = read_spec("quickstart", {"model": "tft"})
    values = derive({"budget": "2M", "style": "deep"}, architecture_values(spec))
    assert (values["d_ff"], values["n_layers"]) == (None, 5)


def test_a_mistake_on_the_command_line_is_not_blamed_on_the_file() -> None:
    with pytest.raises(SpecError, match="^command line: unknown key 'trails'"):
        read_spec("quickstart", {"trails": 3})
    with pytest.raises(SpecError, match="^command line: a slash in name 'a/b'"):
        read_spec("quickstart", {"name": "a/b"})


@pytest.mark.parametrize("study", ["quikstart", "./missing.yaml", "nowhere/at.yml"])
def test_an_unknown_study_names_what_there_is(study: str) -> None:
    with pytest.raises(SpecError, match="quickstart"):
        read_spec(study)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(SpecError, match="save it as UTF-8"):
        read_spec(str(tmp_path / "study.yaml"))


def test_a_list_is_not_a_specification(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="must be a mapping"):
        read_spec(write(tmp_path, "- a\n- b\n"))


def test_a_data_path_is_relative_to_its_file(tmp_path: Path) -> None:
    spec = read_spec(write(tmp_path, "name: mine\ndata: {path: prices.csv}\n"))
    assert spec.data.path == tmp_path / "prices.csv"


def test_without_a_source_the_prices_are_the_built_in_ones(tmp_path: Path) -> None:
    assert read_spec(write(tmp_path, "name: mine\ndata: {tier: a20}\n")).data.example == "indices"
    assert read_spec(write(tmp_path, "name: mine\n")).data.example == "indices"


def test_budgets_are_read_however_they_are_written_and_kept_in_order() -> None:
    assert read_spec("quickstart", {"budgets": ["2000000", "750K"]}).budgets == ("750k", "2M")


def test_a_fingerprint_changes_with_every_value_and_with_nothing_else() -> None:
    spec = read_spec("quickstart")
    assert spec.fingerprint == read_spec("quickstart").fingerprint
    assert spec.fingerprint == Spec.model_validate(spec.as_json()).fingerprint
    other = read_spec("quickstart", {"seed": 2, "training": {"window": 40}})
    assert list(differences(spec.as_json(), other.as_json())) == ["seed: 1 → 2", "training.window: 80 → 40"]


def test_the_derived_values_are_those_of_the_shape() -> None:
    spec = read_spec("itransformer-a200")
    values = derive({"budget": "20M", "style": "deep", "dropout": 0.5}, architecture_values(spec))
    assert values == {
        "shape": "20M_deep",
        "d_model": 384,
        "n_layers": 12,
        "n_heads": 8,
        "d_ff": 1536,
        "estimated_params": 21_233_664,
        "effective_batch": 64,
        "micro_batch": 64,
        "accumulation": 1,
    }


def test_other_shapes_replace_those_of_the_table() -> None:
    shape = {"d_model": 64, "n_layers": 3, "n_heads": 2}
    spec = read_spec("quickstart", {"architectures": {"2M": {"deep": shape}}})
    assert spec.architecture("2M", "deep").d_model == 64
    assert spec.architecture("2M", "shallow").d_model == 320


def test_every_forced_value_lies_inside_the_space() -> None:
    declaration = declare(read_spec("itransformer-a200"))
    assert len(declaration.forced) == 18
    for design in declaration.forced:
        assert design.params.keys() == declaration.space.keys()
        for key, value in design.params.items():
            distribution = declaration.space[key]
            assert distribution._contains(distribution.to_internal_repr(value))


@pytest.mark.parametrize(
    ("values", "least"),
    [
        ({"budgets": ["750k"], "seeds": 3}, 6),
        ({"budgets": ["750k"], "seeds": 1}, 2),
        ({"budgets": ["750k"], "seeds": 3, "forced_extremes": False}, 3),
        ({"seeds": 5}, 26),
    ],
)
def test_a_cap_that_cannot_hold_the_repeats_is_refused_with_the_least_that_can(
    values: dict[str, object], least: int
) -> None:
    assert Spec.model_validate({"name": "s", "trials": least, **values}).trials == least
    with pytest.raises(ValidationError, match=f"trials={least - 1} is below .*raise trials to at least {least}"):
        Spec.model_validate({"name": "s", "trials": least - 1, **values})


def test_seeds_are_part_of_what_is_searched() -> None:
    once, thrice = (Spec.model_validate({"name": "s", "seeds": seeds}) for seeds in (1, 3))
    assert once.fingerprint != thrice.fingerprint
    assert (once.repeats, thrice.repeats) == (0, 4)
