#!/usr/bin/env python3
"""Networks beside the same ones in PyTorch, a search beside plain training, and a whole DASHA beside it.

    make bench-networks

EXECUTABLE is forecastd-torch. It gets a folder of made-up samples for each case and answers questions (`--bench-networks`)
about what its own runs do with them; PyTorch has its turn in between, in this process, with the networks of
`tests/reference/networks.py`: the same description, threads, batch, precision and loss, and who is first alternates.
Where forecastd-torch has a GPU, PyTorch must have it too. A figure is the median over the rounds, after one that is not
counted. Nothing here asserts a time.
"""
import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "reference"))
import networks as reference  # noqa: E402  (it takes one thread for itself: see `Theirs`)

# What the daemon starts it with, unless somebody set it otherwise (daemon/work/torch_process/executable.rs).
ALLOCATOR = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=33554432:"
                               "glibc.malloc.trim_threshold=134217728"}

TURN = 0.3  # seconds that the steps of a turn take together, at least
SPLICE = "genomics/uci_splice_statlog.parquet"

# The paper's budget, in about its own proportions.
BUDGET = {"search-epochs": 10, "trials": 6, "max-epochs": 4, "retrain-epochs": 20}

LETTERS = "ACGTN"
TILES = {"kernel_sizes": [3, 5, 7, 9], "dilations": [1, 3, 5, 7]}
SEQUENCES = {"kernel_sizes": [3, 5, 7, 9, 11], "dilations": [1, 3, 5, 7]}
CASES = [
    {"name": "tiles 3×32×32, 7 classes", "backbone": "wide_resnet", "task": "classify", "bands": 3, "size": [32, 32],
     "labels": 7},
    {"name": "tiles 3×32×32, dense, 2 classes", "backbone": "unet", "task": "segment", "bands": 3, "size": [32, 32],
     "labels": 2},
    {"name": "sequences of 200 letters, 2 classes", "backbone": "wide_resnet", "task": "classify", "bands": 5,
     "size": [200], "labels": 2},
    {"name": "sequences of 200 letters, 2 classes", "backbone": "unet", "task": "classify", "bands": 5, "size": [200],
     "labels": 2},
]

# Convolutions as the small frames have them in a search: depthwise where as many channels come out as go in.
LAYERS = {
    0: [{"inputs": 16, "outputs": 16, "size": [32, 32], "samples": 16},
        {"inputs": 16, "outputs": 32, "size": [16, 16], "samples": 16}],
    2: [{"inputs": 64, "outputs": 64, "size": [200], "samples": 32},
        {"inputs": 32, "outputs": 64, "size": [200], "samples": 32}],
}


def write_run(folder, case, on_gpu):
    """A run's folder with samples that nothing can be learned from."""
    is_tile = len(case["size"]) == 2
    train, validation = ((2048 if on_gpu else 128) if is_tile else (8192 if on_gpu else 512)), 32
    count = train + validation
    positions = 1
    for size in case["size"]:
        positions *= size
    draw = random.Random(1)
    files = {
        "inputs.bin": draw.randbytes(count * case["bands"] * positions) if is_tile
        else bytes(draw.choices(range(4), k=count * positions)),
        "targets.bin": bytes(draw.choices(range(case["labels"]), k=count * positions)) if case["task"] == "segment"
        else b"".join((index % case["labels"]).to_bytes(4, "little") for index in range(count)),
        "splits.bin": bytes(train) + b"\1" * validation,
    }
    for name, content in files.items():
        Path(folder, name).write_bytes(content)
    element = "u8" if is_tile else {"symbol": {"alphabet": LETTERS}}
    Path(folder, "samples.json").write_text(json.dumps({
        "count": count, "input": {"bands": case["bands"], "size": case["size"]}, "element": element,
        "task": case["task"], "labels": [str(label) for label in range(case["labels"])], "hash": "made up"}))
    # A time is named, so that the form of each convolution is chosen by measurement; it is never spent.
    Path(folder, "job.json").write_text(json.dumps({
        "backbone": case["backbone"], "scale": "auto", "space": TILES if is_tile else SEQUENCES, "batch": None,
        "budget": {"search_epochs": 1, "search_part": 1.0, "trials": 1, "max_epochs": 1, "retrain_epochs": 1,
                   "seconds": 3600.0}, "seed": 1}))


class Ours:
    """forecastd-torch with a folder, asked line by line."""

    def __init__(self, executable, folder, threads):
        command = [executable, "--threads", str(threads), "--bench-networks", folder]
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                      env={**ALLOCATOR, **os.environ})
        self.ready = self.hear()["ready"]

    def hear(self):
        line = self.child.stdout.readline()
        if not line:
            sys.exit(f"{self.child.args[0]} has ended with status {self.child.wait()}")
        return json.loads(line)

    def ask(self, **question):
        print(json.dumps(question), file=self.child.stdin, flush=True)
        return self.hear()

    def rate(self, measure, **how):
        """Samples a second."""
        took = self.ask(measure=measure, **how)["took"]
        return took["samples"] / took["seconds"]

    def close(self):
        self.child.stdin.close()
        self.child.wait()


class Theirs:
    """The same network in PyTorch, on a batch that lies on the device."""

    def __init__(self, ready):
        torch.set_num_threads(ready["threads"])
        self.ready, self.device = ready, torch.device(ready["device"])
        architecture = ready["architecture"]
        self.net = stated(architecture).to(self.device)
        found = sum(parameter.numel() for parameter in self.net.parameters())
        assert found == ready["parameters"], f"{found} parameters in PyTorch, {ready['parameters']} in forecastd-torch"
        size = architecture["input"]["size"]
        self.last = ready["mixed_precision"] and len(size) == 2
        if self.last:
            self.net = self.net.to(memory_format=torch.channels_last)
        self.inputs = self.random(ready["batch"])
        self.to_predict = self.random(ready["prediction_batch"])
        dims = size if architecture["task"] == "segment" else []
        self.targets = torch.randint(architecture["outputs"], (ready["batch"], *dims), device=self.device)
        given = ready["hyper_parameters"]
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.0, momentum=given["momentum"], nesterov=True,
                                         weight_decay=given["weight_decay"])
        if "u_net" in architecture["backbone"] and len(size) == 2:
            self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=0.0, weight_decay=given["weight_decay"])

    def random(self, count):
        shape = self.ready["architecture"]["input"]
        return torch.randn(count, shape["bands"], *shape["size"], device=self.device)

    def forward(self, inputs):
        if self.last:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        mixed = self.ready["mixed_precision" if self.net.training else "mixed_predictions"]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=mixed):
            return self.net(inputs)

    def train(self):
        loss = F.cross_entropy(self.forward(self.inputs), self.targets, label_smoothing=self.ready["label_smoothing"])
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.ready["clip"])
        self.optimizer.step()

    @torch.inference_mode()
    def predict(self):
        self.forward(self.to_predict)

    def rate(self, measure, steps):
        self.net.train(measure == "train")
        step = {"train": self.train, "predict": self.predict}[measure]
        self.wait()
        started = time.perf_counter()
        for _ in range(steps):
            step()
        self.wait()
        in_step = self.ready["batch" if measure == "train" else "prediction_batch"]
        return steps * in_step / (time.perf_counter() - started)

    def wait(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def stated(architecture):
    """A described network, as the reference states it."""
    (kind, frame), shape, outputs = *architecture["backbone"].items(), architecture["input"], architecture["outputs"]
    kernels = [(kernel["size"], kernel["dilation"]) for kernel in architecture["pattern"]]
    if kind == "res_net":
        return reference.ResNet1D(shape["bands"], outputs, frame["width"], kernels)
    if kind == "wide_res_net":
        return reference.WideResNet(shape["bands"], outputs, frame["depth"], frame["width"], kernels)
    dense = architecture["task"] == "segment"
    return reference.UNet(len(shape["size"]), shape["bands"], outputs, frame["widths"], kernels, dense)


def compare(ours, theirs, rounds):
    """Medians of samples a second, ours and theirs; the ratios are medians of those within a round."""
    batches = {"train": "batch", "predict": "prediction_batch"}
    steps = {}
    for measure, batch in batches.items():
        theirs.rate(measure, 1), ours.rate(measure, steps=1)
        in_second = theirs.rate(measure, 1) / theirs.ready[batch]
        steps[measure] = max(1, round(TURN * in_second))
    ours.rate("search", steps=1), ours.rate("epoch")
    all_found = []
    for number in range(rounds):
        found = {}
        for measure in batches:
            turns = [("ours", ours), ("theirs", theirs)]
            for who, it in turns if number % 2 == 0 else reversed(turns):
                found[measure, who] = it.rate(measure, steps=steps[measure])
        found["search", "ours"] = ours.rate("search", steps=steps["train"])
        found["epoch", "ours"] = ours.rate("epoch")
        all_found.append(found)
    middle = lambda of: median(of(found) for found in all_found)
    ratio = lambda above, below: middle(lambda found: found[above] / found[below])
    return {
        "rates": {" ".join(key): middle(lambda found: found[key]) for key in all_found[0]},
        "train to PyTorch": ratio(("train", "ours"), ("train", "theirs")),
        "predict to PyTorch": ratio(("predict", "ours"), ("predict", "theirs")),
        "epoch to train": ratio(("epoch", "ours"), ("train", "ours")),
        "search step to training step": ratio(("train", "ours"), ("search", "ours")),
    }


def measure_case(number, case, executable, threads, rounds, on_gpu):
    with tempfile.TemporaryDirectory() as folder:
        write_run(folder, case, on_gpu)
        ours = Ours(executable, folder, threads)
        theirs = Theirs(ours.ready)
        found = compare(ours, theirs, rounds)
        print(f"{case['name']}, {network(ours.ready)}:", found["rates"], file=sys.stderr)
        ways = [{**layer, "ways": ours.ask(measure="ways", layer=layer, runs=3)["ways"]}
                for layer in LAYERS.get(number, [])]
        ours.close()
    return {"name": case["name"], "ready": ours.ready, **found, "layers": ways}


def whole(executable, data, threads):
    """A whole DASHA, and the training of its frame alone with as many epochs. One run each."""
    forecastd = Path(executable).with_name("forecastd")
    plain = {**BUDGET, "search-epochs": 0, "trials": 0}
    runs = {}
    for name, budget in {"DASHA": BUDGET, "plain training": plain}.items():
        with tempfile.TemporaryDirectory() as folder:
            numbers = [word for option, number in budget.items() for word in (f"--{option}", str(number))]
            print(f"{name} on {SPLICE}", file=sys.stderr)
            started = time.perf_counter()
            command = [forecastd, "dasha", Path(data, SPLICE), "--task", "classify", "--input", "sequence", "--backbone",
                       "wide_resnet", *numbers, "--threads", str(threads), "--executable", executable, "--out",
                       Path(folder, "artifact"), "--json"]
            told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            runs[name] = {"wall": time.perf_counter() - started, "card": json.loads(told)}
    return runs


def network(ready):
    (kind, frame), = ready["architecture"]["backbone"].items()
    numbers = [*frame.values()] if kind != "u_net" else [frame["widths"][0]]
    return "_".join([kind, *map(str, numbers)]).replace("res_net", "resnet").replace("u_net", "unet")


def table(headings, rows):
    return "\n".join("| " + " | ".join(row) + " |" for row in [headings, ["---"] * len(headings), *rows])


def network_row(case):
    rates = case["rates"]
    side_by_side = lambda measure: f"{rates[f'{measure} ours']:,.0f} / {rates[f'{measure} theirs']:,.0f}"
    return [case["name"], network(case["ready"]), f"{case['ready']['batch']}, {case['ready']['prediction_batch']}",
            side_by_side("train"), f"{case['train to PyTorch']:.2f}", side_by_side("predict"),
            f"{case['predict to PyTorch']:.2f}", f"{case['epoch to train']:.2f}",
            f"{case['search step to training step']:.1f}"]


def layer_row(layer):
    times = {(way["sum"], way["form"]): way["seconds"] for way in layer["ways"]}
    mixed, apart = (min(seconds for (how, _), seconds in times.items() if how == sum_) for sum_ in ("mixed", "apart"))
    kind = "depthwise" if layer["inputs"] == layer["outputs"] else "full"
    cells = [f"{times[sum_, form] * 1e3:,.1f}" for sum_ in ("mixed", "apart") for form in ("direct", "fourier")]
    return [f"{layer['samples']} × {layer['inputs']} → {layer['outputs']}, {'×'.join(map(str, layer['size']))}, {kind}",
            *cells, f"{apart / mixed:.1f}"]


def whole_rows(runs):
    row = lambda name, run: [name, f"{run['wall']:.1f}", *(f"{run['card']['seconds'][stage]:.1f}" for stage in
                             ("search", "trials", "retrain")), f"{run['wall'] / runs['plain training']['wall']:.2f}"]
    return [row(name, run) for name, run in runs.items()]


def report(machine, cases, runs):
    print("### Networks beside PyTorch: samples a second, ours / theirs\n")
    print(table(["samples", "network", "batch to train, to predict", "training", "ratio", "prediction", "ratio",
                 "whole epoch to training", "search step to training step"], map(network_row, cases)))
    print("\n### A searched convolution there and back, milliseconds\n")
    print(table(["layer", "mixed, direct", "mixed, Fourier", "apart, direct", "apart, Fourier", "best apart to best mixed"],
                [layer_row(layer) for case in cases for layer in case["layers"]]))
    print("\n### A whole DASHA beside plain training, seconds\n")
    if runs:
        print(table(["run", "wall", "search", "trials", "last training", "to plain"], whole_rows(runs)))
        options = " ".join(f"--{name} {number}" for name, number in BUDGET.items())
        print(f"\n{SPLICE}, --backbone wide_resnet {options}; plain: no search, no trials. One run each.")
    else:
        print("Skipped: FORECASTD_DATA does not name the folder of public data sets.")
    print(f"\n{', '.join(f'{what} {it}' for what, it in machine.items())}.")


def describe(threads, hello):
    processor = platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            processor = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), processor)
    device = torch.cuda.get_device_name() if on_gpu(hello) else "CPU"
    return {"date": datetime.now(timezone.utc).isoformat(timespec="minutes"), "processor": processor, "device": device,
            "threads": threads, "load": round(os.getloadavg()[0], 1), "PyTorch": torch.__version__,
            "libtorch": hello["libtorch"]}


def on_gpu(hello):
    return hello["device"] != "cpu"


def main(executable, folder, data, threads, rounds):
    probe = subprocess.run([executable, "--probe"], check=True, stdout=subprocess.PIPE, text=True)
    hello = json.loads(probe.stdout)
    if on_gpu(hello) and not torch.cuda.is_available():
        sys.exit("forecastd-torch has a GPU and this PyTorch has none: they cannot be compared")
    machine = describe(threads, hello)
    cases = [measure_case(number, case, executable, threads, rounds, on_gpu(hello))
             for number, case in enumerate(CASES)]
    runs = whole(executable, data, threads) if data else None
    report(machine, cases, runs)
    Path(folder, "networks.json").write_text(json.dumps({"machine": machine, "cases": cases, "whole": runs}, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="networks beside PyTorch's")
    parser.add_argument("executable", help="forecastd-torch, with forecastd beside it")
    parser.add_argument("folder", help="where networks.json is written")
    parser.add_argument("--data", default=os.environ.get("FORECASTD_DATA"), help="the folder of public data sets")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side [default: 5]")
    main(**vars(parser.parse_args()))
