#!/usr/bin/env python3
"""Outside truth for the long-horizon protocol of `forecastd backtest`: the naive forecasts, as NumPy reckons them.

    python3 -m venv .venv && .venv/bin/pip install numpy pandas pyarrow
    .venv/bin/python tests/reference/long_horizon.py FOLDER > models/tests/golden/long_horizon.json

FOLDER holds ETTh1.parquet, ILI.parquet, weather.parquet and gefcom2012_load.parquet. Splits and the scale are those of
the literature's loaders: twelve, four and four months for ETT, 70 and 20 % rounded down for the others, mean and
population deviation of the train rows. Every window of the test rows counts; cells without a number are pandas' linear
interpolation.
"""
import json
import os
import sys

import numpy as np
import pandas as pd

SETS = {"ETTh1": (24, (96, 720)), "ILI": (52, (24, 60)), "weather": (144, (96,)), "gefcom2012_load": (24, (96,))}


def load(path, name):
    x = pd.read_parquet(path).select_dtypes("number").interpolate(limit_direction="both").to_numpy(np.float64)
    if name == "ETTh1":
        train, cutoff, end = 8640, 11520, 14400
    else:
        train, end = int(.7 * len(x)), len(x)
        cutoff = end - int(.2 * len(x))
    return (x - x[:train].mean(0)) / x[:train].std(0), cutoff, end


def errors(x, cutoff, end, horizon, season):
    origins = np.arange(cutoff, end - horizon + 1)
    steps = np.arange(horizon)
    e = x[(origins - season)[:, None] + steps % season] - x[origins[:, None] + steps]
    at = {str(h): {"mse": float((e[:, h - 1] ** 2).mean())} for h in (1, 24, 96) if h <= horizon}
    return {"mse": float((e ** 2).mean()), "mae": float(np.abs(e).mean()), "steps": at}


def main(folder):
    out = {}
    for name, (season, horizons) in SETS.items():
        x, cutoff, end = load(os.path.join(folder, name + ".parquet"), name)
        of = lambda h, s: (lambda per: {
            "mse": float(np.mean([c["mse"] for c in per])), "mae": float(np.mean([c["mae"] for c in per])),
            "steps": {k: {"mse": float(np.mean([c["steps"][k]["mse"] for c in per]))} for k in per[0]["steps"]},
        })([errors(x[:, c], cutoff, end, h, s) for c in range(x.shape[1])])
        out[name] = {"season": season, "horizons": {
            str(h): {"windows": end - cutoff - h + 1, "random_walk": of(h, 1), "seasonal_naive": of(h, season)}
            for h in horizons}}
    json.dump(out, sys.stdout, indent=1)
    print()


main(sys.argv[1])
