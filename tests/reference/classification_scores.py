#!/usr/bin/env python3
"""Outside truth for `models/src/dasha/metrics`: what scikit-learn says of the same predictions.

    python3 -m venv .venv && .venv/bin/pip install "scikit-learn==1.9.1" "numpy==2.4.6"
    .venv/bin/python tests/reference/classification_scores.py > models/tests/golden/classification_scores.json

Scores are multiples of 1/16, so that they are the same in single precision and some are equal. Labels that no sample
has are left out of macro means, as ours are; scikit-learn would count average precision 0 there.
"""
import json

import numpy as np
from sklearn import metrics


def grid(values):
    return np.round(np.asarray(values) * 16) / 16


def classify(rng, samples, classes, skill):
    labels = rng.choice(classes, samples, p=rng.dirichlet(np.full(classes, 3.0)))
    labels[:classes] = np.arange(classes)
    scores = grid(rng.normal(size=(samples, classes)) + skill * np.eye(classes)[labels])
    predicted = scores.argmax(1)
    if classes == 2:
        auc = metrics.roc_auc_score(labels, scores[:, 1] - scores[:, 0])
    else:
        auc = np.mean([metrics.roc_auc_score(labels == c, scores[:, c]) for c in range(classes)])
    return {
        "classes": classes, "labels": labels.tolist(), "scores": scores.ravel().tolist(),
        "expected": {
            "accuracy": metrics.accuracy_score(labels, predicted),
            "balanced_accuracy": metrics.balanced_accuracy_score(labels, predicted),
            "mcc": metrics.matthews_corrcoef(labels, predicted),
            "macro_f1": metrics.f1_score(labels, predicted, average="macro"),
            "mean_iou": metrics.jaccard_score(labels, predicted, average="macro"),
            "roc_auc": float(auc),
        },
        "iou": metrics.jaccard_score(labels, predicted, average=None).tolist(),
        "confusion": metrics.confusion_matrix(labels, predicted).ravel().tolist(),
    }


def multilabel(rng, samples, classes, skill):
    targets = (rng.random((samples, classes)) < rng.uniform(0.1, 0.6, classes)).astype(int)
    targets[0], targets[1] = 1, 0
    scores = grid(rng.normal(size=(samples, classes)) + skill * targets)
    return {
        "classes": classes, "targets": targets.ravel().tolist(), "scores": scores.ravel().tolist(),
        "expected": {
            "macro_ap": metrics.average_precision_score(targets, scores, average="macro"),
            "micro_ap": metrics.average_precision_score(targets, scores, average="micro"),
            "roc_auc": metrics.roc_auc_score(targets, scores, average="macro"),
        },
    }


def regress(rng, samples, outputs, skill):
    targets = grid(rng.normal(size=(samples, outputs)) * 3)
    predictions = grid(skill * targets + rng.normal(size=(samples, outputs)))
    return {
        "outputs": outputs, "targets": targets.ravel().tolist(), "predictions": predictions.ravel().tolist(),
        "expected": {
            "negative_rmse": -metrics.root_mean_squared_error(targets.ravel(), predictions.ravel()),
            "r2": metrics.r2_score(targets, predictions),
        },
    }


def main():
    rng = np.random.default_rng(5)
    sizes = [(40, 2, 0.0), (60, 2, 1.5), (30, 3, 1.0), (80, 5, 2.0), (50, 4, -0.5)]
    cases = {kind.__name__: [kind(rng, *size) for size in sizes] for kind in (classify, multilabel, regress)}
    print(json.dumps(cases, separators=(",", ":")))


if __name__ == "__main__":
    main()
