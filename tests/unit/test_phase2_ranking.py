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
    by_mean = rank_budgets(spec, trials, "mean")
    assert [ranked.budget for ranked in by_mean] == ["2M", "750k"]
    assert by_mean[1].best is not None
    assert by_mean[1].best.params["dropout"] == 0.1, "0.7 on average, of 0.9 and 0.5"


def test_phase_2_is_built_around_the_best_mean_and_not_the_luckiest_seed() -> None:
    spec = read_spec("quickstart")
    trials = [
        trial(number, dropout, score) for number, (dropout, score) in enumerate([(0.1, 0.9), (0.1, 0.1), (0.2, 0.6)])
    ]
    ranked = rank_budgets(spec, trials, "mean")
    assert ranked[0].best == trials[2]


def trial(number: int, dropout: float, score: float) -> TrialRecord:
    params = {"budget": "2M", "style": "deep", "dropout": dropout}
    return TrialRecord(number, number, 1, 1, Origin.SAMPLED, params, number, TrialState.COMPLETE, score=score)
