#!/usr/bin/env python3
"""Outside truth for `models`: what NumPy and statsmodels say of Auto-AR, written down as a golden file.

    python3 -m venv .venv && .venv/bin/pip install numpy pandas pyarrow statsmodels
    .venv/bin/python tests/reference/auto_ar.py FOLDER > models/tests/golden/auto_ar.json

FOLDER holds ETTh1.parquet and ETTh2.parquet (github.com/zhouhaoyi/ETDataset); of these only results are written,
no rows. The short series are made here and stand in the file as a whole.

The KPSS statistics, the BIC, the order of the short series and all coefficients are statsmodels'. Two things are done
by hand. ETTh1 needs the residuals of 512 orders on 11,000 rows: one QR factorisation of (1, lag 1 .. lag P, target) has
them all in its last column. And statsmodels integrates no differences: the forecasts are the literal recursion.
"""
import json
import os
import sys
import warnings

import numpy as np
import pandas as pd
from statsmodels.tsa.ar_model import AutoReg, ar_select_order
from statsmodels.tsa.stattools import kpss

warnings.simplefilter("ignore")  # p-values at the ends of the KPSS table

TRAIN, ROWS = 8640, 11520  # hours of ETT: what standardises, and what is fitted


def test_trend(x):
    statistic, _, lags, _ = kpss(x, regression="ct", nlags="auto")
    return {"statistic": statistic, "lags": int(lags)}


def differences(x):
    """The test at every d that is looked at, and the least d <= 2 that passes at 5 %."""
    tests = []
    for d in range(2):
        tests.append(test_trend(np.diff(x, d)))
        if tests[-1]["statistic"] < 0.146:
            return tests, d
    return tests, 2


def bic_of_all_orders(y, top):
    """BIC of AutoReg(y, p, hold_back=top), p = 0 .. top, from one QR factorisation."""
    n = len(y) - top
    columns = [np.ones(n)] + [y[top - lag:len(y) - lag] for lag in range(1, top + 1)] + [y[top:]]
    last = np.linalg.qr(np.stack(columns, 1), mode="r")[:, -1]
    rss = np.cumsum(last[::-1] ** 2)[::-1][1:]
    p = np.arange(top + 1)
    return n * (np.log(2 * np.pi) + np.log(rss / n) + 1) + (p + 2) * np.log(n)


def regress(y, p):
    fit = AutoReg(y, p, trend="c").fit()
    degrees = len(fit.resid) - p - 1
    return fit.params[0], fit.params[1:], float(fit.resid @ fit.resid / degrees)


def forecast(x, d, intercept, coefficients, variance, horizon):
    """Means by feeding forecasts back, one sample at a time; deviations by the response to a single unit shock."""
    def run(samples, constant):
        samples = list(samples)
        for _ in range(horizon):
            y = np.diff(samples, d)
            step = constant + sum(a * y[-1 - j] for j, a in enumerate(coefficients))
            # x[t] = y[t] + what d differences take off again
            samples.append(step + (samples[-1] if d == 1 else 2 * samples[-1] - samples[-2] if d == 2 else 0.))
        return np.array(samples[-horizon:])
    rest = np.zeros(len(coefficients) + d + 2)
    shock = np.concatenate([rest[:-1], [1.]])
    psi = np.concatenate([[1.], run(shock, 0.)])[:horizon]
    return run(x[-len(coefficients) - d - 2:], intercept), np.sqrt(variance * np.cumsum(psi ** 2))


def ett(folder, name):
    return pd.read_parquet(os.path.join(folder, name + ".parquet")).select_dtypes("number").iloc[:14400]


def channel(x, lookback, horizon, shown):
    """One channel of ETT, in its own unit."""
    x = x.to_numpy(np.float64)
    mean, deviation = x[:TRAIN].mean(), x[:TRAIN].std()
    tests, d = differences(x[:ROWS])
    y = np.diff(x[:ROWS], d)
    top = lookback - d
    bic = bic_of_all_orders(y, top)
    order = int(bic.argmin())
    assert abs(AutoReg(y, order, trend="c", hold_back=top).fit().bic - bic[order]) < 1e-6 * abs(bic[order])
    intercept, coefficients, variance = regress(y, order)
    standardised, same, _ = regress(np.diff((x[:ROWS] - mean) / deviation, d), order)
    assert np.allclose(coefficients, same, atol=1e-9)
    means, deviations = forecast(x[:ROWS], d, intercept, coefficients, variance, horizon)
    return {
        "train_mean": mean, "train_deviation": deviation,
        "kpss": tests, "num_diff": d, "max_order": top, "order": order,
        "coefficients": list(coefficients), "intercept": intercept, "intercept_standardised": standardised,
        "variance": variance, "bic": {str(p): bic[p] for p in (*shown, order, top)},
        "forecast": {"mean": list(means), "deviation": list(deviations)},
    }


def repeated(x):
    """Training and validation rows as the published code joins them, with 512 rows twice; d = 0 and 1."""
    x = x.to_numpy(np.float64)
    joined = np.concatenate([x[:TRAIN], x[TRAIN - 512:ROWS]])
    return [test_trend(joined), test_trend(np.diff(joined))]


def autoregression(noise, *coefficients):
    y = np.zeros(len(noise))
    for t in range(len(noise)):
        y[t] = noise[t] + sum(a * y[t - 1 - j] for j, a in enumerate(coefficients) if t > j)
    return y


def short_series():
    """Rounded first, then written: what is tested is exactly what stands in the file."""
    noise = lambda seed, n: np.random.default_rng(seed).standard_normal(n)
    t = np.arange(400)
    yield "autoregression", np.round(autoregression(noise(11, 512), 0.6, -0.3, 0.2), 4)
    yield "seasonal", np.round(8 * np.sin(t * 2 * np.pi / 24) + autoregression(noise(2, 400), 0.5), 4)
    yield "unit root", np.round(np.cumsum(autoregression(noise(3, 400), 0.4, 0.2)), 4)
    yield "two unit roots", np.round(np.cumsum(np.cumsum(autoregression(noise(4, 400), -0.5))), 3)
    yield "trend", np.round(0.05 * t + autoregression(noise(12, 400), 0.7), 4)
    yield "white noise", np.round(noise(6, 128), 4)
    yield "twelve samples", np.array([3., 5., 4.5, 6., 4., 2.5, 3.5, 6.5, 4., 5., 3., 4.])


def describe(name, x, lookback=48, horizon=30):
    tests, d = differences(x)
    y = np.diff(x, d)
    top = min(lookback - d, len(y) // 4)
    bic = [AutoReg(y, p, trend="c", hold_back=top).fit().bic for p in range(top + 1)]
    order = int(np.argmin(bic))
    chosen = ar_select_order(y, top, ic="bic", trend="c").ar_lags
    assert order == (len(chosen) if chosen else 0), (name, order, chosen)
    intercept, coefficients, variance = regress(y, order)
    means, deviations = forecast(x, d, intercept, coefficients, variance, horizon)
    return {
        "name": name, "lookback": lookback, "values": list(x),
        "kpss": tests, "num_diff": d, "max_order": top, "order": order,
        "coefficients": list(coefficients), "intercept": intercept,
        "variance": variance, "bic": bic,
        "forecast": {"mean": list(means), "deviation": list(deviations)},
    }


def main(folder):
    one, two = ett(folder, "ETTh1"), ett(folder, "ETTh2")
    return {
        "series": [describe(name, x) for name, x in short_series()],
        "ETTh1": {
            "rows": ROWS, "lookback": 512,
            "channels": {name: channel(one[name], 512, 96, (0, 1, 24)) for name in one},
        },
        "kpss_with_512_rows_twice": {
            "ETTh1": {name: repeated(one[name]) for name in one},
            "ETTh2": {name: repeated(two[name]) for name in two},
        },
    }


def twelve_digits(value):
    """More would be rounding, and differ from one machine to the next."""
    if isinstance(value, dict):
        return {key: twelve_digits(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [twelve_digits(entry) for entry in value]
    return float(f"{value:.12g}") if isinstance(value, float) else value


if __name__ == "__main__":
    json.dump(twelve_digits(main(sys.argv[1])), sys.stdout, separators=(",", ":"))
    print()
