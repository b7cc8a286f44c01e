#!/usr/bin/env python3
"""Outside truth for `models/torch/src/dasha/optimizer.rs`: PyTorch's own optimisers and its clipping of gradients.

    python3 -m venv .venv && .venv/bin/pip install torch==2.11.0 numpy
    .venv/bin/python tests/reference/training.py > models/torch/tests/golden/optimizers.json

Two parameters, whose values and gradients follow from a formula, are moved by six steps with a learning rate that
changes. What they are after each step is stored; the gradients of the last are clipped before, together.
"""
import json

import torch


def wave(count, phase):
    return torch.sin(torch.arange(count, dtype=torch.float32) * 0.7 + phase)


RATES = [0.1, 0.1, 0.02, 0.02, 0.004, 0.004]
RULES = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True),
    "sgd_without_momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.1, weight_decay=0.01),
    "adam_w": lambda parameters: torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.05),
}


def steps(rule):
    parameters = [wave(6, 0.0).reshape(2, 3).requires_grad_(), wave(3, 1.0).requires_grad_()]
    optimizer = rule(parameters)
    course = []
    for step, rate in enumerate(RATES):
        optimizer.param_groups[0]["lr"] = rate
        for index, parameter in enumerate(parameters):
            parameter.grad = (wave(parameter.numel(), step + 3.0 * index) * 2.0).reshape(parameter.shape)
        if step == len(RATES) - 1:
            torch.nn.utils.clip_grad_norm_(parameters, 0.5)
        optimizer.step()
        course.append(torch.cat([parameter.detach().flatten() for parameter in parameters]).tolist())
    return course


print(json.dumps({"rates": RATES, "rules": {name: steps(rule) for name, rule in RULES.items()}}))
