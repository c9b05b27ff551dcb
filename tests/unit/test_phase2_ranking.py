"""How Phase 2 ranks the budgets."""

from hpo.phase2 import rank_budgets
from hpo.records import Origin, TrialRecord, TrialState
from studies.reading import read_spec


def test_best_is_the_best_single_score_and_mean_that_of_three_configurations() -> None:
    spec = read_spec("quickstart")
    scores = {"750k": [(0.1, 0.9), (0.1, 0.5), (0.2, 0.6), (0.3, 0.6)], "2M": [(0.1, 0.8), (0.2, 0.7), (0.3, 0.7)]}
    trials = [
        TrialRecord(
            number=number,
            slot=number,
            turn=1,
            attempt=1,
            origin=Origin.SAMPLED,
            params={"budget": budget, "style": "deep", "dropout": dropout},
            seed=number,
            state=TrialState.COMPLETE,
            score=score,
        )
        for budget, found in scores.items()
        for number, (dropout, score) in enumerate(found)
    ]
    best = rank_budgets(spec, trials, "best")
    assert [(ranked.budget, ranked.value) for ranked in best] == [("750k", 0.9), ("2M", 0.8)]
    assert [ranked.budget for ranked in rank_budgets(spec, trials, "mean")] == ["2M", "750k"]
