#!/usr/bin/env python3
"""Other people's forecasts of the competition files: StatsForecast's AutoARIMA and AutoETS on every series.

    make results

FOLDER is that of the data sets; RESULT the JSON file to write. What is there already is not made again: this takes
hours, nearly all of them for the monthly series. (Of M4 Hourly, AutoARIMA's published score is taken: a season of 24
takes it minutes a series.) MASE and sMAPE are those of the M4 competition, by period.
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
QUICK_FIRST = ("yearly", "other", "quarterly", "monthly")
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
        for period in QUICK_FIRST:
            for name in FILES:
                known = done.setdefault(name, {"periods": {}, "statsforecast": version("statsforecast")})
                frame = pd.read_parquet(os.path.join(folder, "timeseries", name + ".parquet"))
                frame = frame[frame["period"].str.lower() == period]
                if period in known["periods"] or frame.empty:
                    continue
                tasks = [(np.asarray(train, float), np.asarray(test, float), SEASONS[period])
                         for train, test in zip(frame["train"], frame["test"])]
                known["periods"][period] = summary(list(processes.map(score, tasks, chunksize=4)))
                json.dump(done, open(result, "w"), indent=1)
                print(name, period, known["periods"][period], flush=True)


if __name__ == "__main__":
    main()
