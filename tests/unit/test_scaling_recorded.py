"""Small language models that others have trained predict large ones, as `benchmarks/scaling.py` prints."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo.report.size_findings import Verdict

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "scaling.py"


@pytest.fixture(scope="module")
def benchmark() -> dict[str, Any]:
    return runpy.run_path(str(BENCHMARK))


@pytest.fixture(scope="module")
def tables(benchmark: dict[str, Any]) -> Any:
    return benchmark["read_tables"]()


def test_the_table_is_the_one_that_is_described(benchmark: dict[str, Any], tables: Any) -> None:
    small, large = tables
    assert small.flops.size == 1194
    assert small.up_to(benchmark["CUTOFF"]).flops.size == 895
    assert (large.flops.size, round(large.losses.max(), 2)) == (5, 1.31)


def test_runs_of_at_most_1e19_flops_predict_all_five_large_ones(benchmark: dict[str, Any], tables: Any) -> None:
    small, large = tables[0].up_to(benchmark["CUTOFF"]), tables[1]
    found = {each.approach: each for each in benchmark["predictions"](small, large.flops)}
    reported = found["bracket over E"]
    assert benchmark["held"](reported, large.losses).all()
    assert np.abs(benchmark["relative_errors"](reported, large.losses)).max() < 0.02
    assert np.mean((reported.high - reported.low) / large.losses) < 0.13
    assert np.abs(benchmark["relative_errors"](found["best loss seen"], large.losses)).min() > 0.15


@pytest.mark.parametrize("cutoff", [1e18, 3e18, 3e19])
def test_the_interval_holds_all_five_from_other_cut_offs_too(
    benchmark: dict[str, Any], tables: Any, cutoff: float
) -> None:
    small, large = tables[0].up_to(cutoff), tables[1]
    assert benchmark["held"](benchmark["bracket"](small, large.flops), large.losses).all()


def test_the_floor_is_left_open_and_the_largest_group_is_predicted(benchmark: dict[str, Any], tables: Any) -> None:
    found = benchmark["analyse"](tables[0].up_to(benchmark["CUTOFF"]))
    assert found.verdict is Verdict.IMPROVES
    smallest, largest = found.law.allowed_floors
    assert smallest == 0
    assert largest > 0.8
    assert found.hold_out.inside
    assert abs(found.hold_out.relative) < 0.02
