#!/usr/bin/env python3
"""Outside truth for `models/src/scores.rs`: what other people's software says of MASE, sMAPE, OWA and Naive2.

    python3 -m venv .venv && .venv/bin/pip install numpy pandas pyarrow statsmodels statsforecast
    .venv/bin/python tests/reference/scores.py FOLDER > models/tests/golden/scores.json

FOLDER holds m3.parquet, m4_hourly.parquet and m4_weekly.parquet. Of these only means over series are written, no value:
the licences are their owners'. The short series are made here and stand in the file as a whole.

MASE and sMAPE are utilsforecast's (its sMAPE runs to 1, that of M4 to 200), the naive forecasts are StatsForecast's,
autocorrelations and the classical decomposition are statsmodels'. What M4's R code makes of those for Naive2 is written
here once more, from its description in the competitors' guide: a test at 90 % from three seasons on, the adjusted
naive, OWA.
"""
import json
import os
import sys
import warnings

import numpy as np
import pandas as pd
from statsforecast.models import Naive, SeasonalNaive
from statsmodels.tsa.seasonal import seasonal_decompose
from statsmodels.tsa.stattools import acf
from utilsforecast.losses import mase, smape

warnings.simplefilter("ignore")

SEASONS = {"YEARLY": 1, "QUARTERLY": 4, "MONTHLY": 12, "OTHER": 1, "HOURLY": 24, "WEEKLY": 1}
METHODS = ("naive2", "random_walk", "seasonal_naive")


def seasonal(y, season):
    if season == 1 or len(y) < 3 * season:
        return False
    r = acf(y, nlags=season, fft=False)[1:]
    limit = 1.645 / np.sqrt(len(y)) * np.sqrt(1 + 2 * (r[:season - 1] ** 2).sum())
    return bool(abs(r[season - 1]) > limit)


def naive2(y, season, horizon):
    adjusted, shares = y, np.ones(horizon)
    if seasonal(y, season):
        component = seasonal_decompose(y, model="multiplicative", period=season).seasonal
        adjusted, shares = y / component, np.resize(component[-season:], horizon)
    return Naive().forecast(y=adjusted, h=horizon)["mean"] * shares


def forecasts(y, season, horizon):
    repeated = SeasonalNaive(season) if len(y) >= season else Naive()
    return {
        "naive2": naive2(y, season, horizon),
        "random_walk": Naive().forecast(y=y, h=horizon)["mean"],
        "seasonal_naive": repeated.forecast(y=y, h=horizon)["mean"],
    }


def scores(group, season):
    """MASE and sMAPE of each method, one row a series: `group` is a list of (train, test)."""
    train, test = [], []
    for number, (y, truth) in enumerate(group):
        train.append(pd.DataFrame({"unique_id": number, "ds": np.arange(len(y)), "y": y}))
        after = pd.DataFrame({"unique_id": number, "ds": len(y) + np.arange(len(truth)), "y": truth})
        test.append(after.assign(**forecasts(y, season, len(truth))))
    train, test = pd.concat(train), pd.concat(test)
    return {"mase": mase(test, list(METHODS), season, train), "smape": smape(test, list(METHODS))}


def means(group, season):
    found = scores(group, season)
    # A series whose seasonal naive is never wrong, or that has not more than a season, has no MASE.
    good = np.isfinite(found["mase"][list(METHODS)]).all(axis=1)
    out = {"series": int(good.sum())}
    for method in METHODS:
        out[method] = {"mase": float(found["mase"][good][method].mean()),
                       "smape": float(found["smape"][good][method].mean()) * 200}
    naive = out["naive2"]
    for method in METHODS:
        out[method]["owa"] = (out[method]["mase"] / naive["mase"] + out[method]["smape"] / naive["smape"]) / 2
    return out


def made():
    """Series of every kind that Naive2 tells apart."""
    random = np.random.default_rng(20180418)
    for season, n, horizon in ((1, 14, 6), (4, 11, 8), (4, 12, 8), (4, 41, 8), (12, 35, 18), (12, 51, 18), (12, 120, 18),
                               (7, 60, 14), (24, 200, 48)):
        for strength in (0.0, 0.05, 0.5):
            time = np.arange(n + horizon)
            share = 1 + strength * np.sin(2 * np.pi * time / season) + strength / 3 * (time % season == 0)
            noise = np.cumsum(random.normal(0, 3, n + horizon)) + random.normal(0, 5, n + horizon)
            values = np.round((300 + 2 * time + noise) * share, 2)
            yield season, values[:n], values[n:]


def files(folder):
    for name in ("m3", "m4_hourly", "m4_weekly"):
        frame = pd.read_parquet(os.path.join(folder, name + ".parquet"))
        periods = frame.period if "period" in frame else pd.Series(name[3:].upper(), index=frame.index)
        groups = {}
        for period in periods.unique():
            of_period = frame[periods == period]
            pairs = [(np.array(a), np.array(b)) for a, b in zip(of_period.train, of_period.test)]
            groups[period.lower()] = {"season": SEASONS[period], **means(pairs, SEASONS[period])}
        yield name, groups


def main(folder):
    series = []
    for season, y, truth in made():
        found = scores([(y, truth)], season)
        series.append({
            "season": season, "seasonal": seasonal(y, season), "train": y.tolist(), "test": truth.tolist(),
            "naive2": naive2(y, season, len(truth)).tolist(),
            "scores": {method: {"mase": float(found["mase"][method].iloc[0]),
                                "smape": float(found["smape"][method].iloc[0]) * 200} for method in METHODS},
        })
    json.dump({"series": series, "files": dict(files(folder))}, sys.stdout, separators=(",", ":"))
    print()


main(sys.argv[1])
