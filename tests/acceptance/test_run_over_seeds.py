"""`seeds:` as it is used: one run, and the noise in its output, in the status and in the evidence."""

import re
from collections import Counter
from statistics import mean, stdev

from command import Command, optuna_trials

SPEC = """
name: seeded
objective: objectives:noisy
budgets: [750k]
trials: {trials}
seeds: 3
early_stop: {{patience: 1000}}
"""


def test_a_run_with_seeds_repeats_within_its_cap_and_says_what_is_noise(hpo: Command) -> None:
    path = hpo.write("seeded.yaml", SPEC.format(trials=10))
    ran = hpo.run("run", path, "--workers", "2")
    assert ran.code == 0, ran.err
    assert "at most 10 trials, 2 of them forced, 4 for other seeds" in ran.err

    trials = optuna_trials(hpo, "seeded")
    assert Counter(trial.user_attrs["origin"] for trial in trials) == {"forced": 2, "sampled": 4, "repeat": 4}
    scores: dict[int, list[float]] = {}
    for trial in trials:
        assert trial.value is not None
        if trial.user_attrs["origin"] == "repeat":
            first = trial.user_attrs["repeat_of"]
            scores.setdefault(first, [trials[first].value or 0.0]).append(trial.value)
    noise = mean(stdev(each) ** 2 for each in scores.values()) ** 0.5

    status = hpo.json("status", "seeded")
    found = status["noise"]
    assert (found["configurations"], found["degrees_of_freedom"]) == (2, 4)
    assert abs(found["standard_deviation"] - noise) < 1e-12
    assert status["state"] == "finished"
    assert status["evidence"]["seed_noise"] == found["standard_deviation"]
    assert status["evidence"]["seeds"] == {"configurations": 2, "degrees_of_freedom": 4}
    incumbent = status["evidence"]["incumbent"]
    assert incumbent["scores"] == scores[incumbent["trial"]]

    line = f"noise between seeds: {noise:.2g} (2 configurations, 4 repeats)"
    assert line in hpo.run("status", "seeded").out
    assert line in ran.out
    assert f"repeat of trial {incumbent['trial']}" in ran.out
    assert re.search(
        r"\nthe best configuration leads by 0\.\d+ \(3 seeds against 1\): (below|above) the noise", ran.out
    )

    narrow = hpo.write("narrow.yaml", SPEC.format(trials=5).replace("seeded", "narrow"))
    refused = hpo.run("run", narrow)
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)
    assert (
        "trials=5 is below 2 forced configurations and 4 repeats for seeds=3: raise trials to at least 6" in refused.err
    )
