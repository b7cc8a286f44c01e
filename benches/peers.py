#!/usr/bin/env python3
"""Their side of the comparison: what statsmodels and StatsForecast take for the channels that we took our time for.

    make bench-peers

FOLDER, `target/bench`, holds what `cargo bench --bench peers` left: the channels and our figures. Every peer runs in a
process of its own, one at a time and with one thread; the clock is the process's CPU time around the call alone, after
a call on a few samples that is not counted. A figure is the median over the channels of the median over the repeats;
where a channel takes long, one stands for all.

`ar_select_order` at 512 lags of 10,000 samples takes minutes a channel: there the regressions of some orders are
timed, with the very call of its loop, and the trapezoid over all orders is marked `~`. A peer that needs more than
`LIMIT` seconds of CPU for a channel is ended and marked `>`.
"""
import argparse
import json
import os
import platform
import resource
import signal
import subprocess
import sys
import time
import warnings
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from statistics import median

# Before a peer loads its BLAS: with threads of its own the same regressions took fifty times the CPU.
os.environ.update({name + "_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")})

LIMIT = 90  # CPU seconds of a channel
BEYOND_LIMIT = {"mark": ">", "channels": 0, "cpu": LIMIT, "wall": None}
NO_MEMORY = {"mark": "no memory", "channels": 0, "cpu": None, "wall": None}
NO_MEMORY_STATUS = 3  # of a peer's process
LONG = 15.0  # CPU seconds after which one channel stands for all
REPEATED = 2.0  # CPU seconds that repeats of a call may take together
LEVELS = [80, 95]


# The peers. Each is called with the samples and the highest order, and tells what can be compared: BIC by order.

def ar_select_order(y, order, _horizon):
    from statsmodels.tsa.ar_model import ar_select_order
    found = ar_select_order(y, order, ic="bic", trend="c")
    return as_auto_reg({len(lags) if lags else 0: bic for lags, bic in found.bic.items()}, len(y) - order)


def auto_reg(y, order, _horizon):
    from statsmodels.tsa.ar_model import AutoReg
    AutoReg(y, order, trend="c").fit()


def auto_arima(y, _order, horizon):
    from statsforecast.models import AutoARIMA
    AutoARIMA().forecast(y, h=horizon, level=LEVELS)


def auto_regressive(y, order, horizon):
    from statsforecast.models import AutoRegressive
    AutoRegressive(lags=order, method="CSS").forecast(y, h=horizon, level=LEVELS)


PEERS = {peer.__name__: peer for peer in (ar_select_order, auto_reg, auto_arima, auto_regressive)}


def as_auto_reg(bic, rows):
    """`AutoReg` counts the constant as a parameter, `ar_select_order` does not: ln N for every order alike."""
    import math
    return {order: value + math.log(rows) for order, value in bic.items()}


# In the process of a peer.

def timed(call):
    """CPU seconds, wall seconds and result of a call: medians of three, or of as many as are affordable."""
    cpu, wall = [], []
    while not cpu or (len(cpu) < 3 and sum(cpu) < REPEATED):
        wall_before, cpu_before = time.perf_counter(), time.process_time()
        result = call()
        cpu.append(time.process_time() - cpu_before)
        wall.append(time.perf_counter() - wall_before)
    return median(cpu), median(wall), result


def extrapolated(y, order):
    """`ar_select_order` from the regressions of five orders."""
    import numpy as np
    from statsmodels.regression.linear_model import OLS
    columns = [np.ones(len(y) - order)] + [y[order - lag:len(y) - lag] for lag in range(1, order + 1)]
    x, target = np.stack(columns, 1), y[order:]
    cpu, wall, bic = {}, {}, {}
    for p in sorted({round(order * share / 4) for share in range(5)}):
        cpu[p], wall[p], fit = timed(lambda: OLS(target, x[:, :p + 1]).fit())
        bic[p] = float(fit.bic)
    all_orders = range(order + 1)
    total = lambda seconds: float(np.interp(all_orders, list(seconds), list(seconds.values())).sum())
    return total(cpu), total(wall), as_auto_reg(bic, len(target))


def run_peer(folder, peer, samples, order, horizon, extrapolate):
    """A line for each channel; where one takes long, for the first alone."""
    import pandas as pd
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    channels = pd.read_parquet(Path(folder, "peers.parquet")).drop(columns="time")
    PEERS[peer](channels.iloc[:100, 0].to_numpy(), 2, 2)
    for name, values in channels.items():
        y = values.to_numpy()[-samples:]
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + LIMIT, resource.RLIM_INFINITY))
        cpu, wall, bic = extrapolated(y, order) if extrapolate else timed(lambda: PEERS[peer](y, order, horizon))
        print(json.dumps({"channel": name, "cpu": cpu, "wall": wall, "bic": bic}), flush=True)
        if cpu > LONG:
            return


# In the process that asks them all.

def compare(folder, ours):
    """Gives each of our cases what the peers took, and how far they agree."""
    failed = {}  # the least case that a peer could not do, and why
    arima = {}  # it knows no highest order: once for each number of samples
    for case in ours["cases"]:
        samples, order = case["samples"], case["order"]
        case["peers"] = {}
        for peer in PEERS:
            if peer in failed and failed[peer][0] <= samples and failed[peer][1] <= order:
                case["peers"][peer] = failed[peer][2]
            elif peer == "auto_arima" and samples in arima:
                case["peers"][peer] = arima[samples]
            else:
                print(f"{peer}, T = {samples}, P = {order}", file=sys.stderr)
                extrapolate = peer == "ar_select_order" and order > 128 and samples > 2000
                case["peers"][peer] = ask(folder, peer, case, ours["horizon"], extrapolate)
            if case["peers"][peer]["channels"] == 0:
                failed.setdefault(peer, (samples, order, case["peers"][peer]))
        arima[samples] = case["peers"]["auto_arima"]


def ask(folder, peer, case, horizon, extrapolate):
    arguments = [folder, "--peer", peer, "--samples", str(case["samples"]), "--order", str(case["order"]),
                 "--horizon", str(horizon), *(["--extrapolate"] if extrapolate else [])]
    done = subprocess.run([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True)
    if done.returncode == -signal.SIGXCPU:
        return BEYOND_LIMIT
    if done.returncode == NO_MEMORY_STATUS:
        return NO_MEMORY
    done.check_returncode()
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    figures = {clock: median(answer[clock] for answer in answers) for clock in ("cpu", "wall")}
    return {"mark": "~" if extrapolate else "", "channels": len(answers), **figures, **agreement(case, answers)}


def agreement(case, answers):
    """Whether all orders are the same, if all were tried, and how far a BIC is apart at most."""
    channels = {channel["name"]: channel for channel in case["channels"]}
    same, distances = [], []
    for answer in answers:
        if not answer["bic"]:
            return {}
        ours, bic = channels[answer["channel"]], {int(order): bic for order, bic in answer["bic"].items()}
        distances += [abs(theirs - ours["bic"][order]) for order, theirs in bic.items()]
        if len(bic) == len(ours["bic"]):
            same.append(min(bic, key=bic.get) == ours["best"])
    return {"same_order": all(same) if same else None, "bic_differs_by": max(distances)}


HEADINGS = ["T", "P", "search", "whole fit", "fits/s", "ar_select_order", "ratio", "AutoReg(P)", "ratio", "AutoARIMA",
            "ratio", "AutoRegressive(P)", "ratio", "same order", "max |ΔBIC|"]


def table(cases):
    lines = [HEADINGS, ["", "", "CPU ms", "CPU ms", "all cores", "CPU s", "to search", "CPU s", "to fit", "CPU s",
                        "to fit", "CPU s", "to fit", "", ""]]
    for case in cases:
        line = [f"{case['samples']:,}", str(case["order"]), f"{case['search'] * 1e3:.3f}",
                f"{case['fit'] * 1e3:.3f}", f"{case['fits_a_second']:,.0f}"]
        for name, peer in case["peers"].items():
            if peer["cpu"] is None:
                line += [peer["mark"], "-"]
                continue
            ratio = peer["cpu"] / case["search" if name == "ar_select_order" else "fit"]
            line += [f"{peer['mark']} {peer['cpu']:.3g}".strip(), f"{peer['mark']} {ratio:,.0f}×".strip()]
        search = case["peers"]["ar_select_order"]
        same = {True: "yes", False: "NO"}.get(search.get("same_order"), "-")
        distance = search.get("bic_differs_by")
        lines.append(line + [same, "-" if distance is None else f"{distance:.0e}"])
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths)) for line in lines)


def machine():
    processor = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            processor = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), processor)
    packages = ("numpy", "scipy", "statsmodels", "statsforecast")
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="minutes"), "processor": processor,
        "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1), "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def main(folder):
    ours = json.loads(Path(folder, "ours.json").read_text())
    at_start = machine()
    compare(folder, ours)
    print(table(ours["cases"]))
    print(f"""
{", ".join(f"{what} {it}" for what, it in at_start.items())}.
A channel on one thread, in CPU time; fits/s on {ours["threads"]} threads, in wall time.
search: every order 0 .. P on one common sample, as ar_select_order(ic="bic") does, with no test for differences.
whole fit: KPSS and differences, search (of orders to a quarter of the samples), estimate, {ours["horizon"]} steps with two intervals.
AutoReg and AutoRegressive(method="CSS") are given the order P and search none; AutoARIMA looks at five lags at most.
Where a channel takes a peer more than {LONG:.0f} s it stands for all three, in the comparison of the BICs too.
~ extrapolated from the regressions of five orders; > ended after so many seconds.
no memory: StatsForecast's exact initial covariance grows with the fourth power of P.""")
    for case in ours["cases"]:
        for channel in case["channels"]:
            channel["bic"] = channel["bic"][channel["best"]]
    Path(folder, "peers.json").write_text(json.dumps({"machine": at_start, **ours}, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="peers beside our figures")
    parser.add_argument("folder")
    parser.add_argument("--peer", choices=PEERS)
    parser.add_argument("--samples", type=int)
    parser.add_argument("--order", type=int)
    parser.add_argument("--horizon", type=int)
    parser.add_argument("--extrapolate", action="store_true")
    given = vars(parser.parse_args())
    if given["peer"]:
        try:
            run_peer(**given)
        except MemoryError:
            sys.exit(NO_MEMORY_STATUS)
    else:
        main(given["folder"])
