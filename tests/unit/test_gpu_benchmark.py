"""The benchmarks of a GPU say in one line that there is none."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card, and it would be measured for an hour")
def test_without_a_card_the_benchmark_of_it_says_so_in_one_line_and_ends_as_wrong_input() -> None:
    command = [sys.executable, "benchmarks/gpu.py", "--quick"]
    found = subprocess.run(
        command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert found.returncode == 2
    assert found.stdout == ""
    assert len(found.stderr.splitlines()) == 1
    assert "needs a CUDA device" in found.stderr
