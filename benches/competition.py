#!/usr/bin/env python3
"""Other people's forecasts of the competition files: StatsForecast's AutoARIMA and AutoETS on every series.

    make results

FOLDER is that of the data sets; RESULT the JSON file to write. What is there already is not made again: this takes
half an hour. (Of M4 Hourly, AutoARIMA's published score is taken: a season of 24 takes it minutes a series.) MASE and sMAPE are those of the M4 competition, by period group and over all.
"""
import json
import os
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version

os.environ.update({name + "_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")})
warnings.filterwarnings("ignore")

import numpy as np
import pandas as pd

FILES = ("tourism", "m3")
SEASONS = {"yearly": 1, "quarterly": 4, "monthly": 12, "other": 1}


def mase(train, test, forecast, season):
    season = season if len(train) > season else 1
    return np.abs(test - forecast).mean() / np.abs(train[season:] - train[:-season]).mean()


def smape(test, forecast):
    return 200 * (np.abs(test - forecast) / (np.abs(test) + np.abs(forecast))).mean()


def score(task):
    """One series by both: {method: (mase, smape, seconds)}; where one breaks, the last value stands in."""
    from statsforecast.models import AutoARIMA, AutoETS
    train, test, season = task
    result = {}
    for method in (AutoARIMA, AutoETS):
        started, failed = time.process_time(), 0
        try:
            forecast = method(season_length=season).forecast(train, h=len(test))["mean"]
        except Exception:
            forecast, failed = np.repeat(train[-1], len(test)), 1
        seconds = time.process_time() - started
        result[method.__name__] = (mase(train, test, forecast, season), smape(test, forecast), seconds, failed)
    return result


def summary(scores):
    return {
        method: dict(zip(("mase", "smape"), np.mean([s[method][:2] for s in scores], 0).round(4)),
                     cpu_seconds=round(sum(s[method][2] for s in scores), 1), failed=sum(s[method][3] for s in scores))
        for method in ("AutoARIMA", "AutoETS")
    }


def main():
    folder, result = sys.argv[1:]
    done = json.load(open(result)) if os.path.exists(result) else {}
    with ProcessPoolExecutor(os.cpu_count()) as processes:
        for name in FILES:
            if name in done:
                continue
            frame = pd.read_parquet(os.path.join(folder, "timeseries", name + ".parquet"))
            periods = [period.lower() for period in frame["period"]]
            tasks = [(np.asarray(train, float), np.asarray(test, float), SEASONS[p])
                     for train, test, p in zip(frame["train"], frame["test"], periods)]
            scores = list(processes.map(score, tasks, chunksize=4))
            groups = {p: summary([s for s, q in zip(scores, periods) if q == p]) for p in sorted(set(periods))}
            done[name] = {"series": len(scores), "all": summary(scores), "periods": groups,
                          "statsforecast": version("statsforecast")}
            json.dump(done, open(result, "w"), indent=1)
            print(name, done[name]["all"], flush=True)


if __name__ == "__main__":
    main()
