"""What says the size of a trial."""

from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets import format_budget
from budgets.errors import InputError
from hpo.report.evidence import Evidence, evidence_of
from hpo.report.sizes import size_in, size_names


def study_of(*rows: dict[str, Any]) -> optuna.Study:
    """A study with one complete trial a row of user attributes, each with a score of its own."""
    study = optuna.create_study(study_name="theirs", direction="maximize")
    for number, attributes in enumerate(rows):
        study.add_trial(optuna.trial.create_trial(value=number / 100, user_attrs=attributes))
    return study


@pytest.mark.parametrize(
    ("value", "size"),
    [
        *[(750_000, 750_000.0), (1.5, 1.5), ("750k", 750_000.0), ("2M", 2e6), ("1.5b", 1.5e9), ("250000", 250_000.0)],
        *[("1e6", 1e6), (0, None), (-1, None), (float("nan"), None), (float("inf"), None), ("nan", None)],
        *[("inf", None), ("large", None), ("", None), (True, None), (None, None), ([1], None), ("0", None)],
    ],
)
def test_a_size_is_a_positive_number_a_text_of_one_or_a_budget(value: object, size: float | None) -> None:
    assert size_in(value) == size


@given(st.integers(1, 10**12))
def test_every_budget_is_the_size_that_it_names(count: int) -> None:
    assert size_in(format_budget(count)) == count


def test_names_that_may_be_sizes_are_numeric_wherever_they_are_and_differ() -> None:
    rows = [{"width": 1, "name": "a", "some": 3, "same": 1}, {"width": 2, "name": "b", "same": 1}]
    assert size_names([*rows, {"width": 3, "some": 4, "mixed": "x"}, {"mixed": 3}]) == ["width", "some"]


def read(size: str | None, *rows: dict[str, Any]) -> Evidence:
    return evidence_of(study_of(*rows), size_name=size)


def test_a_size_may_be_written_as_a_budget() -> None:
    found = read("model", {"model": "750k"}, {"model": "2M"}, {"model": "20M"})
    assert [trial.size for trial in found.trials] == [750_000, 2_000_000, 20_000_000]
    assert found.size_name == "model"


def test_a_trial_that_says_no_size_has_none() -> None:
    found = read("n", {"n": 10}, {}, {"n": "unknown"}, {"n": 20})
    assert [trial.size for trial in found.trials] == [10, None, None, 20]


def test_a_parameter_goes_before_an_attribute_of_its_name() -> None:
    study = optuna.create_study()
    width = {"width": optuna.distributions.IntDistribution(1, 9)}
    study.add_trial(
        optuna.trial.create_trial(value=0, params={"width": 3}, distributions=width, user_attrs={"width": 5})
    )
    assert evidence_of(study, size_name="width").trials[0].size == 3


def test_without_a_name_the_size_is_what_this_service_counts_or_nothing() -> None:
    both = {"exact_params": 11, "estimated_params": 10}
    assert [trial.size for trial in read(None, both, both).trials] == [11, 11]
    assert read(None, {"estimated_params": 10}).size_name == "estimated_params"
    assert read(None, {"layers": 3}).size_name == ""
    assert read(None, {"exact_params": "many", "estimated_params": 10}).size_name == "estimated_params"


def test_an_unknown_size_is_refused_with_the_numeric_names() -> None:
    with pytest.raises(InputError, match=r"--size must name .* study theirs's .* not 'widht': numeric are width$"):
        read("widht", {"width": 1, "name": "a"}, {"width": 2, "name": "b"})


def test_a_size_that_is_no_number_is_refused_with_a_value() -> None:
    with pytest.raises(InputError, match="name of study theirs is 'a': numeric are width"):
        read("name", {"width": 1, "name": "a"}, {"width": 2, "name": "b"})


def test_a_study_without_numbers_says_to_leave_the_size_out() -> None:
    with pytest.raises(InputError, match="leave --size out"):
        read("width", {"name": "a"})


def test_many_numeric_names_are_cut() -> None:
    rows = [{f"n{i}": i + j + 1 for i in range(20)} for j in range(2)]
    with pytest.raises(InputError, match="and 12 more$"):
        read("width", *rows)


def test_a_study_without_trials_takes_any_size() -> None:
    assert read("width").size_name == "width"
