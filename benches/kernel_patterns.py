#!/usr/bin/env python3
"""Whether searches for kernels agree: runs DASH on three tasks with five seeds each, and writes how far their patterns
lie apart into RESULTS.md, with a picture.

    make kernel-patterns

FORECASTD, TORCH and DATA are the executables and the folder of the data sets; FOLDER keeps the card of every run, and
a run whose card is there is not done again. All tasks get the same frame, so that their layers correspond. With --page
nothing is run. Only what stands between two comments in the page is replaced, and `kernel_patterns.svg` beside it.
"""
import json
import random
from datetime import datetime, timezone
from itertools import combinations
from math import log2, sqrt
from pathlib import Path
from statistics import mean

import page

HERE = Path(__file__).parent
SEEDS = range(1, 6)
PART = 0.2  # of the training samples, that an epoch of the search sees
SAMPLES = 61_000  # that a search sees, so that each task's has as many steps: some 1,900
BATCH = 32
SHUFFLES = 20_000
# Name, file, options, training samples, colour.
TASKS = [
    ("UCI splice", "genomics/uci_splice_statlog", [], 1694, "#0b57a4"),
    ("mouse TF 3", "genomics/gue_tf_mouse_3", [], 1904, "#2d7d46"),
    ("MODIS NDVI", "satellite/modis_ndvi_mato_grosso", ["--image", "ndvi"], 850, "#7b3f98"),
]


# The runs.

def run_all(forecastd, torch, data, folder):
    for seed in SEEDS:
        for task in TASKS:
            page.keep(card_path(folder, task, seed), lambda: search(forecastd, torch, data, task, seed))


def search(forecastd, torch, data, task, seed):
    """The card of a run that hardly trains what it found."""
    _, file, options, train, _ = task
    epochs = max(1, round(SAMPLES / (PART * train)))
    return page.dasha(forecastd, torch, Path(data, file + ".parquet"),
                      ["--input", "sequence", "--search-epochs", epochs, "--trials", 0, "--retrain-epochs", 1,
                       "--batch", BATCH, "--seed", seed, *options])


def card_path(folder, task, seed):
    return folder / f"{Path(task[1]).name}-{seed}.json"


# Distances.

def extents(card):
    """From the first to the last tap, of each convolution."""
    return [kernel["dilation"] * (kernel["size"] - 1) + 1 for kernel in card["searches"][0]["pattern"]]


def distance(one, other):
    """The mean over the convolutions of the ratio of extents, in doublings."""
    return mean(abs(log2(a / b)) for a, b in zip(one, other, strict=True))


def gap(distances, labels):
    """Between tasks less within tasks, in the mean."""
    pairs = {True: [], False: []}
    for i, j in combinations(range(len(labels)), 2):
        pairs[labels[i] == labels[j]].append(distances[i][j])
    return mean(pairs[False]) - mean(pairs[True])


def chance(distances, labels):
    """How often labels that are dealt anew have a gap as large."""
    dealer, found, dealt = random.Random(0), gap(distances, labels), list(labels)
    larger = 0
    for _ in range(SHUFFLES):
        dealer.shuffle(dealt)
        larger += gap(distances, dealt) >= found - 1e-12
    return (larger + 1) / (SHUFFLES + 1)


def neighbours(distances, labels):
    """Patterns whose nearest is of their own task; of several that are as near, so large a part as is of it."""
    total = 0.0
    for i, label in enumerate(labels):
        others = [j for j in range(len(labels)) if j != i]
        least = min(distances[i][j] for j in others)
        nearest = [labels[j] == label for j in others if distances[i][j] <= least + 1e-12]
        total += mean(nearest)
    return total


def plane(distances):
    """Classical scaling (Torgerson, 1952) to two axes: the leading eigenvectors of the centred squares."""
    count = len(distances)
    squares = [[-0.5 * d * d for d in row] for row in distances]
    means = [mean(row) for row in squares]
    matrix = [[squares[i][j] - means[i] - means[j] + mean(means) for j in range(count)] for i in range(count)]
    trace = sum(matrix[i][i] for i in range(count))
    axes, shares = [], []
    for axis in range(2):
        vector = [random.Random(axis).gauss(0, 1) + i for i in range(count)]
        value = 0.0
        for _ in range(2000):
            image = [sum(a * b for a, b in zip(row, vector)) for row in matrix]
            value = sqrt(sum(x * x for x in image))
            vector = [x / value for x in image]
        axes.append([sqrt(value) * x for x in vector])
        shares.append(value / trace)
        for i in range(count):
            for j in range(count):
                matrix[i][j] -= value * vector[i] * vector[j]
    return list(zip(*axes)), shares


# The page.

def section(folder):
    patterns, labels = [], []
    for task in TASKS:
        for seed in SEEDS:
            patterns.append(extents(json.loads(card_path(folder, task, seed).read_text())))
            labels.append(task[0])
    distances = [[distance(one, other) for other in patterns] for one in patterns]
    (HERE / "kernel_patterns.svg").write_text(picture(distances))
    card = json.loads(card_path(folder, TASKS[0], SEEDS[0]).read_text())
    names = [task[0] for task in TASKS]
    count, convolutions = len(labels), len(patterns[0])

    def between(one, other):
        found = [distances[i][j] for i in range(count) for j in range(count)
                 if i != j and labels[i] == one and labels[j] == other]
        return f"{mean(found):.2f}"

    def losses(name):
        of = [json.loads(card_path(folder, task, seed).read_text())["searches"][0]["losses"]
              for task in TASKS if task[0] == name for seed in SEEDS]
        return f"{mean(loss[0] for loss in of):.2f} to {mean(loss[-1] for loss in of):.2f}"

    def layers(name):
        of = [pattern for pattern, label in zip(patterns, labels) if label == name]
        return [f"{2 ** mean(log2(pattern[layer]) for pattern in of):.0f}" for layer in range(convolutions)]

    parted = gap(distances, labels)
    p = chance(distances, labels)
    own = neighbours(distances, labels)
    by_chance = (len(SEEDS) - 1) / (count - 1)
    genes = [i for i in range(count) if labels[i] != "MODIS NDVI"]
    among = [[distances[i][j] for j in genes] for i in genes]
    of_genes = [labels[i] for i in genes]
    return f"""\
## {datetime.now(timezone.utc).date().isoformat()}, whether kernel patterns of a task cluster across seeds \
(`FORECASTD_DATA=… make kernel-patterns`)

DASH on {len(TASKS)} tasks with {len(SEEDS)} seeds each: the same frame \
(`resnet_{card['searches'][0]['searched_as']['res_net']['width']}`), the paper's space for sequences (extents 3 to 71), batches of {BATCH}, {SAMPLES:,} samples a search (the paper's would \
see {100 * PART * TASKS[0][3]:,.0f} on splice), \
{card['environment']['threads']} thread on {card['environment']['device']}. A seed changes initial weights and the order \
of samples; NDVI has no split of its own, so there it changes the split too. The distance of two patterns is the mean over the {convolutions} \
convolutions of |log2| of the ratio of their extents: 1 is a factor of two in each layer.

{page.table(["mean distance", *names, "loss of the search, first to last epoch"],
            [[one, *(between(one, other) for other in names), losses(one)] for one in names])}

- {verdict(p)} Between tasks less within: {parted:.2f}; labels dealt anew reach that with p = {p:.4f} ({SHUFFLES:,} \
permutations). {own:g} of {count} patterns have their nearest neighbour in their own task; by chance {by_chance * count:.1f}.
- The two tasks of DNA alone: {gap(among, of_genes):.2f}, p = {chance(among, of_genes):.4f}; {neighbours(among, of_genes):g} of \
{len(genes)} nearest neighbours, by chance {(len(SEEDS) - 1) / (len(genes) - 1) * len(genes):.1f}.
- A quarter of the steps (14,000 samples) was not enough, on these tasks and a fourth: between less within 0.02, p = 0.30. The
  choices move by little at each step, and at first are no more than their noise: patterns of short searches say nothing
  of the task.

![Distances of all patterns, and their place in a plane](kernel_patterns.svg)

Extents by convolution, geometric means over the seeds:

{page.table(["", *(str(layer + 1) for layer in range(convolutions))], [[name, *layers(name)] for name in names])}
"""


def verdict(p):
    return "They cluster." if p < 0.01 else "They tend to cluster." if p < 0.05 else "They do not cluster."


def picture(distances):
    """The matrix of distances, blocks of tasks on its diagonal; and the same in a plane."""
    count, cell, left, top, wide, seeds = len(distances), 15, 130, 34, 430, len(SEEDS)
    points, shares = plane(distances)
    side = cell * count
    most = max(max(row) for row in distances)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + side + wide} {top + side + 50}" '
             'font-family="sans-serif" font-size="11" fill="#222">', '<rect width="100%" height="100%" fill="#fff"/>',
             f'<text x="{left}" y="18" font-weight="bold">Distance of kernel patterns</text>']
    for i, row in enumerate(distances):
        for j, value in enumerate(row):
            light = round(255 - 190 * value / most)
            parts.append(f'<rect x="{left + j * cell}" y="{top + i * cell}" width="{cell}" height="{cell}" '
                         f'fill="rgb({light},{light},{min(255, light + 25)})"/>')
    for number, (name, *_, colour) in enumerate(TASKS):
        at = number * seeds * cell
        parts.append(f'<rect x="{left + at}" y="{top + at}" width="{seeds * cell}" height="{seeds * cell}" fill="none" '
                     f'stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{left - 6}" y="{top + at + seeds * cell / 2 + 4}" text-anchor="end" fill="{colour}">{name}</text>')
    parts.append(f'<text x="{left}" y="{top + side + 18}">white: 0, darkest: {most:.2f} doublings of extent; {seeds} seeds a task</text>')
    origin, middle, radius = left + side + 40, top + side / 2, (side - 20) / 2
    scale = radius / max(abs(x) for point in points for x in point)
    parts.append(f'<text x="{origin}" y="18" font-weight="bold">The same in a plane</text>')
    parts.append(f'<rect x="{origin}" y="{top}" width="{side}" height="{side}" fill="none" stroke="#bbb"/>')
    for index, (x, y) in enumerate(points):
        colour = TASKS[index // seeds][4]
        parts.append(f'<circle cx="{origin + side / 2 + scale * x:.1f}" cy="{middle - scale * y:.1f}" r="5" fill="{colour}" '
                     'fill-opacity="0.75"/>')
    parts.append(f'<text x="{origin}" y="{top + side + 18}">classical scaling; the axes have {100 * shares[0]:.0f} % and '
                 f'{100 * shares[1]:.0f} % of the squares</text>')
    return "\n".join(parts + ["</svg>"]) + "\n"


if __name__ == "__main__":
    page.main("kernel-patterns", "whether kernel patterns of a task cluster across seeds", run_all, section)
