"""The accuracy that is promised, on pulls simulated from a seed; `make eta` measures it on real daemons."""

from __future__ import annotations

from statistics import median

import pytest

from bench.eta_score import Score, Seen, Trace, score, tqdm_etas
from bench.eta_synthetic import PROCESSES, Process, run

SEEDS = range(5)


@pytest.mark.parametrize("process", PROCESSES, ids=lambda process: process.name)
def test_the_goals_hold_at_the_median_of_the_seeds(process: Process) -> None:
    scores = [score(run(process, seed)) for seed in SEEDS]
    typical = Score(
        name=process.name,
        samples=0,
        ours=median(each.ours for each in scores),
        ours_late=median(each.ours_late for each in scores),
        mean_rate=median(each.mean_rate for each in scores),
        tqdm=median(each.tqdm for each in scores),
        covered=median(each.covered for each in scores),
        half_width_max=max(each.half_width_max for each in scores),
        unknown=max(each.unknown for each in scores),
        negative=sum(each.negative for each in scores),
        is_changing=scores[0].is_changing,
    )
    assert [goal for goal, met in typical.goals().items() if not met] == []
    assert typical.unknown < 0.02


def test_the_judge_finds_a_wrong_estimate_wrong() -> None:
    seen = tuple(Seen(t, 10 * t, 1000, 2.0 * (100 - t), 1.9 * (100 - t), 2.1 * (100 - t)) for t in range(100))
    judged = score(Trace("twice", seen, 0.0, 100.0))
    assert judged.ours == pytest.approx(1.0)
    assert judged.covered == 0.0
    assert judged.mean_rate == pytest.approx(0.0)
    assert {goal for goal, met in judged.goals().items() if not met} == {
        "median <= 10 %",
        "late <= 5 %",
        "covered >= 80 %",
        "no worse",
    }


def test_tqdm_is_as_tqdm_computes_it() -> None:
    seen = tuple(Seen(float(t), 100 * t, 1000, None, None, None) for t in range(5))
    assert tqdm_etas(Trace("even", seen, 0.0, 10.0))[4] == pytest.approx(6.0)
