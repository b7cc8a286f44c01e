#!/usr/bin/env python3
"""Outside truth for the search for the order: the BIC of every order 0 .. P of a thousand channels, by statsmodels.

    make .venv/ready
    .venv/bin/python tests/reference/order_search.py > models/tests/golden/order_search.txt

A few minutes on two cores. Given a number, it makes other channels of the same families, which `make exactness` does.

The channels themselves are not written: they are made of integers with + - and * alone, each rounded as IEEE 754 has
it, so `models/tests/order_search.rs` makes the same bits again. A hash of the bits stands in the file to prove it.

Each BIC is that of `ar_select_order(y, P, ic="bic")` in the convention of `AutoReg`, wherever that is a number that can be trusted. It is held
against a Householder QR in 80-bit arithmetic, which has the residuals of all orders in its last column; where the two
differ by more than `TRUSTED`, the longer arithmetic is the truth, and the line says so. That is so at a scale of
1e-300, where statsmodels' pseudo-inverse takes lags for zeros beside a column of ones, and at 1e300, where squares are
infinite. A residual that is zero but for rounding has no BIC: the line ends at the order that leaves none, with `-inf`.

The last three families are harder than what the service would regress on without differences: less than a millionth
of the sum of squares is left.

A line: family, number, samples, P, hash, source, statsmodels' order or `-`, and the BICs. Its order is left out where
its own rounding has changed it.
"""
import os

for threads in ("OMP", "OPENBLAS", "MKL"):
    os.environ[threads + "_NUM_THREADS"] = "1"

import multiprocessing
import struct
import sys
import warnings

import numpy as np
from statsmodels.tsa.ar_model import AutoReg, ar_select_order

warnings.simplefilter("ignore")  # logarithms of zero, where a fit is perfect

TRUSTED = 1e-7
PERFECT = 1e-30  # a residual of so small a share of the sum of squares is rounding of the 80-bit arithmetic


class Numbers:
    """Knuth's 64-bit linear congruential generator, top bits first."""

    def __init__(self, seed):
        self.state = seed
        for _ in range(4):
            self.uniform()

    def uniform(self):
        """In [0, 1), a multiple of 2^-53."""
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 11) * 2.0**-53

    def below(self, n):
        return int(self.uniform() * n)

    def between(self, low, high):
        return low + (high - low) * self.uniform()

    def noise(self):
        """Nearly normal, variance 1/3."""
        return self.uniform() + self.uniform() + self.uniform() + self.uniform() - 2.0


def recursion(noise, coefficients):
    """y[t] = noise[t] + a[1] y[t-1] + a[2] y[t-2] + ..., from zero."""
    y = []
    for t, value in enumerate(noise):
        for lag, coefficient in coefficients:
            if lag <= t:
                value = value + coefficient * y[t - lag]
        y.append(value)
    return y


def noises(numbers, n):
    return [numbers.noise() for _ in range(n)]


def memory(numbers, n):
    """An autoregression that stays within bounds whatever is drawn: its coefficients sum to less than one."""
    first, second = numbers.between(-0.6, 0.6), numbers.between(-0.3, 0.3)
    return recursion(noises(numbers, n), [(1, first), (2, second)])


def total(values):
    return recursion(values, [(1, 1.0)])


def bump(t, period):
    """A parabola a period: a season without a sine."""
    phase = t % period
    return float(phase * (period - phase))


def plus(a, b):
    return [a + b for a, b in zip(a, b)]


def times(values, factor):
    return [value * factor for value in values]


def ar(numbers, n):
    lag, weight = 3 + numbers.below(22), numbers.between(-0.4, 0.4)
    return recursion(memory(numbers, n), [(lag, weight)])


def seasonal(numbers, n):
    period, height = 4 + numbers.below(21), numbers.between(0.01, 0.2)
    return plus([bump(t, period) * height for t in range(n)], memory(numbers, n))


def unit_root(numbers, n):
    return total(memory(numbers, n))


def trend(numbers, n):
    slope = numbers.between(-0.5, 0.5)
    return plus([t * slope for t in range(n)], memory(numbers, n))


def constant(numbers, n):
    value, slope = numbers.between(-100.0, 100.0), float(1 + numbers.below(9))
    return [value if numbers.state % 2 else t * slope for t in range(n)]


def offset(numbers, n):
    return plus(ar(numbers, n), [1e6] * n)


def tiny(numbers, n):
    return times(ar(numbers, n), 1e-300)


def huge(numbers, n):
    return times(ar(numbers, n), 1e300)


def near_unit_root(numbers, n):
    """Roots of modulus 0.9995 at a period of about 24."""
    return recursion(noises(numbers, n), [(1, numbers.between(1.92, 1.94)), (2, -0.999)])


def heavy_tails(numbers, n):
    return recursion([e * e * e * e * e for e in noises(numbers, n)], [(1, numbers.between(-0.8, 0.8))])


def counts(numbers, n):
    """Integers, most of them zero in some channels."""
    most, busy = 2 + numbers.below(9), numbers.between(0.1, 1.0)
    return [float(numbers.below(most)) if numbers.uniform() < busy else 0.0 for _ in range(n)]


def spikes(numbers, n):
    height, rest = numbers.between(10.0, 1000.0), memory(numbers, n)
    return [value + height if numbers.below(40) == 0 else value for value in rest]


def steps(numbers, n):
    """Levels that hold for a while, with a season on top."""
    levels = total([numbers.between(-5.0, 5.0) if numbers.below(50) == 0 else 0.0 for _ in range(n)])
    return plus(levels, seasonal(numbers, n))


def steep_trend(numbers, n):
    slope = numbers.between(1.0, 50.0)
    return plus([t * slope for t in range(n)], memory(numbers, n))


def two_unit_roots(numbers, n):
    return total(unit_root(numbers, n))


def quiet_seasonal(numbers, n):
    period = 4 + numbers.below(21)
    return plus([bump(t, period) for t in range(n)], times(memory(numbers, n), 1e-3))


# Name, function, channels.
FAMILIES = [
    ("ar", ar, 72), ("seasonal", seasonal, 72), ("unit_root", unit_root, 72), ("trend", trend, 72),
    ("constant", constant, 72), ("short", ar, 72), ("offset", offset, 72), ("tiny", tiny, 72), ("huge", huge, 72),
    ("near_unit_root", near_unit_root, 72), ("heavy_tails", heavy_tails, 72), ("counts", counts, 72),
    ("spikes", spikes, 72), ("steps", steps, 72),
    ("steep_trend", steep_trend, 24), ("two_unit_roots", two_unit_roots, 24), ("quiet_seasonal", quiet_seasonal, 24),
]


def channel(family, place, number):
    """The samples of a channel and its highest order."""
    name, make, _ = FAMILIES[family]
    numbers = Numbers(family * 1000 + number)
    n = 160 + numbers.below(300)
    order = 24 + numbers.below(9)
    if name == "short":
        n = 12 + numbers.below(60)
        order = n // 4
    elif place < 3:
        n, order = 2000, 128
    elif place == 3 and family < 4:
        n, order = 2500, 512
    return make(numbers, n), order


def hash_of(samples):
    """FNV-1a, a sample's 64 bits at a time."""
    state = 0xcbf29ce484222325
    for bits in struct.unpack(f"<{len(samples)}Q", struct.pack(f"<{len(samples)}d", *samples)):
        state = (state ^ bits) * 0x100000001b3 % 2**64
    return state


def bic_by_statsmodels(y, top):
    """And its order. `ar_select_order` does not count the constant as a parameter, and `AutoReg` does: ln N apart."""
    y = np.array(y)
    found = ar_select_order(y, top, ic="bic", trend="c")
    bic = {len(lags) if lags else 0: value + np.log(len(y) - top) for lags, value in found.bic.items()}
    order = len(found.ar_lags or ())
    again = AutoReg(y, order, trend="c", hold_back=top).fit().bic
    assert not np.isfinite(again) or abs(again - bic[order]) <= TRUSTED, (again, bic[order])
    return np.array([bic[order] for order in range(top + 1)]), order


def bic_by_qr(y, top):
    """Householder's QR of (1, lag 1 .. lag P, target) in 80 bits; the last column has what each order leaves."""
    y = np.array(y, np.longdouble)
    n = len(y) - top
    columns = [np.ones(n, np.longdouble)] + [y[top - lag:len(y) - lag] for lag in range(1, top + 1)] + [y[top:]]
    a = np.stack(columns, 1)
    left = np.empty(top + 2, np.longdouble)
    square = left[0] = a[:, -1] @ a[:, -1]
    for column in range(top + 1):
        v = a[column:, column].copy()
        size = np.sqrt(v @ v)
        if size > 0:
            v[0] += size if v[0] >= 0 else -size
            rest = a[column:, column:]
            rest -= np.outer(v * (2 / (v @ v)), v @ rest)
        left[column + 1] = a[column + 1:, -1] @ a[column + 1:, -1]
    rss = np.where(left[1:] > PERFECT * square, left[1:], 0)
    orders = np.arange(top + 1)
    pi = np.longdouble("3.14159265358979323846")
    return n * (np.log(2 * pi) + np.log(rss / n) + 1) + (orders + 2) * np.log(np.longdouble(n))


def truth(key):
    family, place, number = key
    y, top = channel(family, place, number)
    exact = bic_by_qr(y, top)
    if not np.isfinite(exact).all():
        end = int(np.argmin(np.isfinite(exact)))
        return key, y, top, "perfect", None, exact[:end + 1], np.inf
    try:
        theirs, order = bic_by_statsmodels(y, top)
        distance = float(np.abs(theirs - exact).max())
    except np.linalg.LinAlgError:
        theirs, order, distance = None, None, np.inf
    if distance <= TRUSTED:
        return key, y, top, "statsmodels", order, theirs, distance
    can_tell = np.isfinite(distance) and order == exact.argmin()
    return key, y, top, "80-bit", order if can_tell else None, exact, distance


def report(name, found):
    sources = [entry[3] for entry in found]
    counts = ", ".join(f"{sources.count(source)} {source}" for source in sorted(set(sources)))
    finite = [entry for entry in found if np.isfinite(entry[6])]
    text = f"{name:15} {counts}"
    if finite:
        same = sum(entry[4] is not None for entry in finite)
        farthest = max(entry[6] for entry in finite)
        text += f"; statsmodels is finite on {len(finite)}, within {farthest:.1e} of 80 bits, same order on {same}"
    print(text, file=sys.stderr)


def main(first):
    assert np.finfo(np.longdouble).nmant >= 63, "this needs a machine with 80-bit floating point, such as x86-64"
    keys = [(family, place, first + place) for family, (_, _, many) in enumerate(FAMILIES) for place in range(many)]
    longest_first = sorted(keys, key=lambda key: key[1] not in range(4))
    with multiprocessing.Pool() as pool:
        found = sorted(pool.imap_unordered(truth, longest_first), key=lambda entry: entry[0])
    for (family, _, number), y, top, source, order, bic, _ in found:
        chosen = "-" if order is None else order
        numbers = " ".join(f"{value:.8f}" for value in bic)
        print(FAMILIES[family][0], number, len(y), top, f"{hash_of(y):016x}", source, chosen, numbers)
    for family, (name, _, _) in enumerate(FAMILIES):
        report(name, [entry for entry in found if entry[0][0] == family])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
