"""What the fork server has imported: little enough, and still everything for whoever wants it."""

import subprocess
import sys

import pytest

BEGIN = "import sys, studies.preload\nassert not {'ray', 'scipy.signal', 'neuralforecast.core'} & set(sys.modules)\n"


def run(code: str) -> str:
    """Run this in a process of its own after the preload; return what it prints."""
    command = [sys.executable, "-W", "ignore", "-c", BEGIN + code]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@pytest.mark.parametrize(
    ("code", "printed"),
    [
        (
            "import neuralforecast as n\nprint(n.__version__[0], hasattr(n, '__nothing__'))",
            "3 False",
        ),
        ("from neuralforecast import NeuralForecast\nprint(NeuralForecast.__name__)", "NeuralForecast"),
        ("from neuralforecast.auto import AutoiTransformer\nprint(AutoiTransformer.__name__)", "AutoiTransformer"),
        ("from neuralforecast.models import NHITS\nprint(NHITS.__name__)", "NHITS"),
        ("from neuralforecast.models import *\nprint(iTransformer.__module__)", "neuralforecast.models.itransformer"),
        ("import scipy.signal\nprint(scipy.signal.windows.hamming(1))", "[1.]"),
        ("from scipy import signal\nprint(signal.windows.hamming(1))", "[1.]"),
    ],
)
def test_what_was_left_out_is_there_for_an_objective_that_wants_it(code: str, printed: str) -> None:
    assert run(code) == printed


def test_no_family_imports_more_of_neuralforecast_while_it_trains() -> None:
    code = """
import torch
from budgets import Architecture
from studies.families import FAMILIES, WindowShape
before = set(sys.modules)
for family in FAMILIES.values():
    family.build(Architecture(32, 2, 8), WindowShape(80, 1, 2, 0 if family is FAMILIES["patchtst"] else 3), 0.1, 1)
print(sorted(set(sys.modules) - before))
"""
    assert run(code) == "[]"
