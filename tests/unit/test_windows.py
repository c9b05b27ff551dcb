"""Windows are gathered where the panel is, read-only file or not, and hold exactly their rows."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from panels import HORIZON, ROWS, WINDOW, panel_of

from studies.data.panel import Panel, cut_before_test, load_panel, save_panel
from studies.windows import Windows


@pytest.fixture
def saved(tmp_path: Path) -> Panel:
    save_panel(panel_of(2, 5), tmp_path / "panel")
    return load_panel(tmp_path / "panel")


@pytest.mark.parametrize(("n_series", "n_features"), [(1, 1), (1, 4), (3, 1), (2, 5), (2, 0)])
def test_a_window_holds_its_rows_and_its_target_the_label_after_the_horizon(n_series: int, n_features: int) -> None:
    panel = panel_of(n_series, n_features)
    decisions = np.asarray([WINDOW - 1, 50, 11, 50, ROWS - 1 - HORIZON])
    inputs, targets = Windows(panel).at(decisions)
    assert inputs["futr_exog"].shape == (5, n_features, WINDOW + HORIZON, n_series)
    for place, decision in enumerate(decisions):
        seen = panel.features[decision - WINDOW + 1 : decision + HORIZON + 1]
        np.testing.assert_array_equal(inputs["futr_exog"][place].numpy(), seen.transpose(2, 0, 1))
        known = panel.labels[decision - WINDOW + 1 : decision + 1]
        np.testing.assert_array_equal(inputs["insample_y"][place].numpy(), known)
        np.testing.assert_array_equal(targets[place].numpy(), panel.labels[decision + HORIZON])


@pytest.mark.parametrize("decision", [WINDOW - 2, ROWS - HORIZON, -1])
def test_a_window_that_is_not_all_inside_the_panel_is_refused(decision: int) -> None:
    with pytest.raises(IndexError):
        Windows(panel_of(2, 5)).at(np.asarray([20, decision]))


def test_a_window_is_a_copy_that_a_model_may_change() -> None:
    windows = Windows(panel_of(2, 5))
    before, _ = windows.at(np.asarray([30]))
    changed, labels = windows.at(np.asarray([30]))
    changed["futr_exog"].zero_()
    changed["insample_y"].zero_()
    labels.zero_()
    again, _ = windows.at(np.asarray([30]))
    assert all(torch.equal(again[name], before[name]) for name in before)


def test_the_windows_of_a_mapped_panel_are_those_of_one_in_memory_without_a_word_of_torch(saved: Panel) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        windows = Windows(cut_before_test(saved))
    decisions = np.asarray(saved.splits.validation)
    (inputs, targets), (expected, labels) = windows.at(decisions), Windows(panel_of(2, 5)).at(decisions)
    assert all(torch.equal(inputs[name], expected[name]) for name in expected)
    assert torch.equal(targets, labels)


def test_a_mapped_panel_without_test_is_mapped_no_further_than_its_last_row(saved: Panel) -> None:
    cut = cut_before_test(saved)
    rows = saved.splits.validation.stop + saved.horizon
    assert rows < ROWS
    for array in (cut.features, cut.labels):
        assert isinstance(array, np.memmap)
        assert not array.flags.writeable
        assert array.base is not None
        # The whole mapping, header of the file included: no byte of a later row is in it.
        assert len(memoryview(array.base)) == array.offset + array.nbytes
        assert len(array) == rows


def test_no_view_of_a_mapped_panel_reaches_the_test_part(saved: Panel) -> None:
    cut = cut_before_test(saved)
    windows = Windows(cut)
    # What torch would let a view of any stride reach.
    assert windows._features.untyped_storage().nbytes() == cut.features.nbytes
    assert windows._labels.untyped_storage().nbytes() == cut.labels.nbytes


def test_a_part_of_a_mapping_is_copied_and_not_mistaken_for_the_beginning_of_its_file(saved: Panel) -> None:
    later = replace(saved, features=saved.features[10:], labels=saved.labels[10:], dates=saved.dates[10:])
    cut = cut_before_test(later)
    np.testing.assert_array_equal(cut.features, saved.features[10 : 10 + len(cut.features)])
    assert cut.features.base is None


def test_a_panel_without_features_is_mapped_too(tmp_path: Path) -> None:
    save_panel(panel_of(2, 0), tmp_path / "panel")
    cut = cut_before_test(load_panel(tmp_path / "panel"))
    inputs, _ = Windows(cut).at(np.asarray([20]))
    assert inputs["futr_exog"].shape == (1, 0, WINDOW + HORIZON, 2)


def test_on_another_device_everything_is_gathered_there() -> None:
    """The meta device holds no numbers, so nothing could come from anywhere else."""
    windows = Windows(panel_of(2, 5), torch.device("meta"))
    inputs, labels = windows.at(np.asarray([20, 30]))
    assert {value.device.type for value in (*inputs.values(), labels)} == {"meta"}
    assert (inputs["futr_exog"].shape, inputs["insample_y"].shape) == ((2, 5, WINDOW + HORIZON, 2), (2, WINDOW, 2))
    assert labels.shape == (2, 2)


def test_data_workers_gather_in_memory_whatever_the_device() -> None:
    inputs, _ = Windows(panel_of(2, 5), torch.device("meta")).in_memory().at(np.asarray([20]))
    assert torch.equal(inputs["futr_exog"], Windows(panel_of(2, 5)).at(np.asarray([20]))[0]["futr_exog"])
