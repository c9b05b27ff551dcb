"""One optimizer step of a real model on real windows, bare, so that it can be timed and counted without its loop.

The network is the family's, with the dropout that training puts in; loss and optimizer are those of a trial.
"""

import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from studies.data.panel import Panel, cut_before_test
from studies.dropout import StepRandomness, use_whole_batch_dropout
from studies.families import FAMILIES
from studies.losses import BERNOULLI
from studies.precision import MIXED, begin
from studies.preparation import open_panel, prepare_prices, window_shape
from studies.reading import read_spec
from studies.spec import Spec
from studies.windows import Windows

CPU = torch.device("cpu")


def prices(home: Path, tier: str = "a20") -> tuple[Spec, Panel]:
    """Return the quickstart study over all budgets and its panel without test, prepared in this home."""
    spec = read_spec("quickstart", {"data": {"tier": tier}, "budgets": ["750k", "2M", "20M", "200M"]})
    return spec, cut_before_test(open_panel(spec, home, prepare_prices(spec, home).sizes["panel"]))


def begin_measuring(threads: int = 1) -> None:
    """Make this process compute on so many threads, and libraries quiet."""
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    warnings.simplefilter("ignore")
    torch.set_num_threads(threads)


class TrainingStep:
    """A model in training, with its windows on the device.

    Args:
        spec: of a study.
        panel: of it.
        size: budget and style.
        windows: a step.
        parts: forward and backward passes a step.
        device: that it trains on.
        precision: of its products.
        wrap: makes another module of the network, such as a compiled one; it keeps torch's own dropout, since ours asks
            for a seed at every call, which a compiler can't see through.
    """

    def __init__(
        self,
        spec: Spec,
        panel: Panel,
        size: tuple[str, str],
        windows: int,
        device: torch.device = CPU,
        precision: str = "32-true",
        wrap: Callable[[torch.nn.Module], torch.nn.Module] | None = None,
        parts: int = 1,
    ) -> None:
        family, shape, self.architecture = FAMILIES[spec.model], window_shape(panel), spec.architecture(*size)
        network = family.build(self.architecture, shape, 0.3, 1)
        self._randomness = StepRandomness(parts)
        if wrap is None:
            use_whole_batch_dropout(network, self._randomness)
        self.device, self.precision, self.windows, self.parts = device, precision, windows, parts
        begin(precision)
        network.to(device).train()
        self.parameters = [each for each in network.parameters() if each.requires_grad]
        fused = all(each.is_floating_point() for each in self.parameters)
        self._network = wrap(network) if wrap else network
        self._optimizer = torch.optim.AdamW(self.parameters, lr=1e-4, fused=fused)
        self._windows, self._random = Windows(panel, device), np.random.default_rng(1)
        self._decisions = np.asarray(panel.splits.train, dtype=np.int64)
        self.nominal_flops = windows * family.training_flops(self.architecture, shape)
        self.tokens = family.tokens(shape)

    def step(self) -> None:
        """Gather windows, forward, backward, AdamW."""
        drawn = self._random.choice(self._decisions, self.windows)
        for part, own in enumerate(np.split(drawn, self.parts)):
            self._randomness.begin(part, len(own), self.device)
            inputs, labels = self._windows.at(own)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == MIXED):
                loss = BERNOULLI(self._network(inputs)[:, -1], labels) / self.parts
            loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._optimizer.zero_grad()

    def seconds(self, steps: int = 1) -> float:
        """Return the seconds of a step, over so many of them."""
        return seconds_of(self.step, self.device, steps)


def seconds_of(work: Callable[[], object], device: torch.device = CPU, times: int = 1) -> float:
    """Return the seconds that a piece of work takes, over so many times, until the device is done with it."""
    _wait_for(device)
    began = time.perf_counter()
    for _ in range(times):
        work()
    _wait_for(device)
    return (time.perf_counter() - began) / times


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
