"""An objective that ends as its parameters say, and leaves a file for weights."""

import time
from collections.abc import Mapping
from typing import Any

from studies.objective import DivergedError, PrunedError


def train(params: Mapping[str, Any], context: Any) -> float:
    with (context.home / "calls.txt").open("a") as calls:
        calls.write(f"{context.seed}\n")
    tries = (context.home / "calls.txt").read_text().splitlines().count(str(context.seed))
    if params["end"] == "diverges":
        raise DivergedError("the loss became nan at step 3")
    if params["end"] == "fails" or (params["end"] == "fails once" and tries == 1):
        raise RuntimeError("no luck today")
    if params["end"] == "waits":
        context.report(0.5, 1)
        for _ in range(1200):
            if context.should_stop():
                raise PrunedError("stopped")
            time.sleep(0.05)
    if params["end"] != "keeps nothing":
        (context.directory / "weights.ckpt").write_text("weights")
    return 0.5 + context.seed / 100
