#!/usr/bin/env python3
"""Outside truth for `models/src/dasha/asha/stopping.rs`: what Ray Tune's own AsyncHyperBandScheduler decides.

    python3 -m venv .venv && .venv/bin/pip install "ray[tune]==2.60.0" "numpy==2.4.6"
    .venv/bin/python tests/reference/asha.py > models/tests/golden/asha.json

Random streams of reports, seeded, are handed to the scheduler one by one, as its controller would. A report is
[trial, iteration, score], the score null where it is NaN; its decision is C or S, all of a stream in one string. Trials
that were stopped report no more, but in the streams named `after_stop`, where the scheduler is asked all the same.
"""
import json
import sys
import warnings
from types import SimpleNamespace

import numpy as np
from ray.tune.schedulers import AsyncHyperBandScheduler

warnings.simplefilter("ignore")

# eta, grace_period, max_t: DASHA's own, Ray's default, rungs that are no whole numbers, logarithms that round.
RULES = [
    (2, 1, 20), (4, 1, 100), (3, 2, 30), (2.5, 1, 40), (1.5, 3, 20), (10, 1, 1000), (3, 1, 243), (2, 5, 5), (5, 1, 125),
]
STREAMS = ["in_turn", "skipping", "ties", "nan", "infinite", "out_of_order", "after_stop", "best_so_far"]


def score(rng, stream, trial, iteration):
    if stream == "ties":
        return float(rng.integers(0, 4))
    if stream == "nan" and rng.random() < 0.25:
        return float("nan")
    if stream == "infinite" and rng.random() < 0.2:
        return float(rng.choice([-np.inf, np.inf]))
    # Trials differ, grow, and are noisy; rounded, which keeps the file small.
    return round(float(rng.normal() + 0.3 * (trial % 5) + np.log(iteration)), 3)


def replay(rng, stream, eta, grace_period, max_t, mode):
    scheduler = AsyncHyperBandScheduler(
        metric="score", mode=mode, reduction_factor=eta, grace_period=grace_period, max_t=max_t
    )
    trials = [SimpleNamespace(trial_id=str(trial)) for trial in range(14)]
    for trial in trials:
        scheduler.on_trial_add(None, trial)
    iterations, best, live = [0] * len(trials), [None] * len(trials), list(range(len(trials)))
    reports, decisions = [], ""
    while live and len(reports) < 70:
        trial = int(rng.choice(live))
        # Long rules would need thousands of reports to come to their far rungs.
        stride = max(1, max_t // 25)
        step = int(rng.integers(1, 5 if stream == "skipping" else 2)) * stride
        if stream == "out_of_order" and iterations[trial] > 2 * stride and rng.random() < 0.3:
            step = -stride
        if stream in ("in_turn", "skipping") and iterations[trial] < 4:
            step = int(rng.integers(1, 3))
        iterations[trial] += step
        value = score(rng, stream, trial, iterations[trial])
        if stream == "best_so_far":
            better = max if mode == "max" else min
            best[trial] = value = value if best[trial] is None else better(best[trial], value)
        result = {"training_iteration": iterations[trial], "score": value}
        decision = scheduler.on_trial_result(None, trials[trial], result)
        told = value if np.isfinite(value) else None if np.isnan(value) else str(value)
        reports.append([trial, iterations[trial], told])
        decisions += decision[0]
        if decision == scheduler.STOP and (stream != "after_stop" or iterations[trial] >= max_t + 3):
            live.remove(trial)
    return {
        "stream": stream, "reduction_factor": eta, "grace_period": grace_period, "max_t": max_t, "mode": mode,
        "rungs": [rung for rung, _ in scheduler._brackets[0]._rungs], "reports": reports, "decisions": decisions,
    }


def main():
    rng = np.random.default_rng(20)
    cases = []
    for number, rule in enumerate(RULES):
        for offset, stream in enumerate(STREAMS):
            cases.append(replay(rng, stream, *rule, mode=["max", "min"][(number + offset) % 2]))
    decisions = "".join(case["decisions"] for case in cases)
    print(f"{len(cases)} streams, {len(decisions)} reports, {decisions.count('S')} stops", file=sys.stderr)
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    print(f"[\n{lines}\n]")


if __name__ == "__main__":
    main()
