"""The TPE strategy, on real Optuna studies that live in memory."""

import random
from dataclasses import replace

import optuna
import pytest
from plain_tpe import plain_study

from hpo.records import Origin, TrialRecord, TrialState
from hpo.strategies.tpe import Tpe
from studies.declaration import declare
from studies.reading import read_spec

DECLARATION = declare(read_spec("itransformer-a200"))


def forced_records() -> list[TrialRecord]:
    return [
        TrialRecord(
            number=number,
            slot=design.id,
            turn=1,
            attempt=1,
            origin=Origin.FORCED,
            params=design.params,
            seed=1,
            state=TrialState.COMPLETE,
            score=0.6 + 0.1 * (design.params["style"] == "deep"),
        )
        for number, design in enumerate(DECLARATION.forced)
    ]


def test_proposals_are_those_of_optunas_own_sampler() -> None:
    # Before the tenth trial it draws at random, and afterwards all parameters together.
    for count in (0, 3, 18):
        records = forced_records()[:count]
        for seed in range(4):
            asked = plain_study(records, DECLARATION.space, "maximize", seed).ask(dict(DECLARATION.space))
            assert Tpe()(records, DECLARATION.space, "maximize", seed) == asked.params


def test_joint_sampling_stays_on_after_the_forced_trials() -> None:
    study = plain_study(forced_records(), DECLARATION.space, "maximize", seed=1)
    joint = optuna.search_space.intersection_search_space(study.trials)
    assert joint == dict(DECLARATION.space)
    assert study.sampler.infer_relative_search_space(study, study.trials[0]) == joint


def test_a_trial_of_another_space_is_not_learnt_from_so_that_the_joint_model_keeps_every_parameter() -> None:
    stranger = replace(forced_records()[0], number=18, params={"budget": "2M"})
    shown = [*forced_records(), stranger]
    without = Tpe()(forced_records(), DECLARATION.space, "maximize", 1)
    assert Tpe()(shown, DECLARATION.space, "maximize", 1) == without


def test_a_trial_of_another_space_among_the_others_moves_nobodys_end() -> None:
    records, kept = forced_records(), Tpe()
    stranger = replace(records[0], number=18, params={"budget": "2M"}, state=TrialState.RUNNING, score=None)
    running = [replace(record, state=TrialState.RUNNING, score=None) for record in records[9:]]
    kept([*records[:9], stranger, *running], DECLARATION.space, "maximize", 1)
    shown = [*records[:9], replace(stranger, state=TrialState.COMPLETE, score=0.9), *records[9:]]
    assert kept(shown, DECLARATION.space, "maximize", 1) == Tpe()(records, DECLARATION.space, "maximize", 1)


def test_an_error_leaves_nothing_behind() -> None:
    records, kept = forced_records(), Tpe()
    kept(records, DECLARATION.space, "maximize", 1)
    outside = replace(records[0], number=18, params={**records[0].params, "dropout": 7.0})
    for _ in range(2):
        with pytest.raises(ValueError, match="dropout"):
            kept([*records, outside], DECLARATION.space, "maximize", 1)
    fitting = replace(records[0], number=18)
    expected = Tpe()([*records, fitting], DECLARATION.space, "maximize", 1)
    assert kept([*records, fitting], DECLARATION.space, "maximize", 1) == expected


def test_tpe_learns_from_the_forced_trials() -> None:
    records = forced_records()
    deep = sum(Tpe()(records, DECLARATION.space, "maximize", seed)["style"] == "deep" for seed in range(60))
    shallow = sum(Tpe()(records, DECLARATION.space, "minimize", seed)["style"] == "deep" for seed in range(60))
    # With the scores above deep is better; a sampler that did not learn would propose it about 30 times of 60.
    assert deep > 35 > 25 > shallow


def test_a_proposal_is_a_function_of_records_and_seed() -> None:
    records = forced_records()
    first, again, other = (Tpe()(records, DECLARATION.space, "maximize", seed) for seed in (7, 7, 8))
    assert first == again != other
    assert first.keys() == DECLARATION.space.keys()


def test_failed_and_replaced_trials_teach_nothing() -> None:
    records = forced_records()
    failed = [replace(r, number=18 + r.number, state=TrialState.FAILED, score=None) for r in records]
    assert Tpe()([*records, *failed], DECLARATION.space, "maximize", 3) == Tpe()(
        records, DECLARATION.space, "maximize", 3
    )


def test_a_proposal_is_optunas_own_and_does_not_depend_on_what_was_shown_before() -> None:
    dice, kept, records = random.Random(3), Tpe(), forced_records()
    ends = [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED, TrialState.REPLACED]
    for step in range(60):
        proposed = kept(records, DECLARATION.space, "maximize", step)
        assert proposed == Tpe()(records, DECLARATION.space, "maximize", step)
        plain = plain_study(records, DECLARATION.space, "maximize", step)
        assert proposed == plain.ask(dict(DECLARATION.space)).params
        running = replace(records[0], number=len(records), params=proposed, state=TrialState.RUNNING, score=None)
        records = [*records, running]
        # Several run at once, and end in any order.
        for place in [place for place, each in enumerate(records) if each.is_open and dice.random() < 0.4]:
            state = dice.choice(ends)
            score = dice.random() if state is TrialState.COMPLETE else None
            infeasible = {"infeasible": True} if state is TrialState.FAILED and dice.random() < 0.3 else {}
            records[place] = replace(records[place], state=state, score=score, attributes=infeasible)
        if step % 20 == 19:
            # A configuration was repeated: its mean is another score.
            records[step] = replace(records[step], state=TrialState.COMPLETE, score=dice.random())
    assert len({each.state for each in records}) >= 5


def test_another_space_or_direction_is_not_answered_from_what_was_shown_before() -> None:
    kept, records = Tpe(), forced_records()
    kept(records, DECLARATION.space, "maximize", 1)
    turned = Tpe()(records, DECLARATION.space, "minimize", 1)
    assert kept(records, DECLARATION.space, "minimize", 1) == turned
    other = {**DECLARATION.space, "dropout": optuna.distributions.FloatDistribution(0.0, 0.9)}
    assert kept(records, other, "minimize", 1) == Tpe()(records, other, "minimize", 1)
    assert kept(records[:12], other, "minimize", 1) == Tpe()(records[:12], other, "minimize", 1)


def test_tpe_keeps_away_from_where_trials_were_pruned() -> None:
    # All complete ones are equal: only the pruned trials, all with high learning rates, say where not to go.
    records = [replace(record, score=0.6) for record in forced_records()]
    rates = [3e-4 * 1.05**number for number in range(24)]
    pruned = [
        replace(
            records[0],
            number=18 + number,
            params={**records[0].params, "learning_rate": rate},
            state=TrialState.PRUNED,
            score=None,
            attributes={"best_so_far": [[10, 0.5], [20, 0.5]]},
        )
        for number, rate in enumerate(rates)
    ]

    def high(shown: list[TrialRecord]) -> int:
        return sum(Tpe()(shown, DECLARATION.space, "maximize", seed)["learning_rate"] > 2.5e-4 for seed in range(60))

    assert high([*records, *pruned]) < high(records) / 2
