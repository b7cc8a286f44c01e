#!/usr/bin/env python3
"""A served network beside the same one behind FastAPI and PyTorch, over HTTP, with the same load.

    make bench-inference

ARTIFACT is a trained network of letters. forecastd serves it (`/v2/models/m/infer`, binary tensors), and so does, in a
process of its own, what people write: FastAPI on uvicorn, one `async def` that runs the network of
`tests/reference/networks.py` with the weights of the artifact. Both get one thread for the network. Sequences are
random, the same for both; who is asked first alternates from round to round, and a figure is the median over the
rounds. First both must say the same of the same sequences. Nothing here asserts a time.
"""
import argparse
import asyncio
import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

CONNECTIONS = 8
TURN = 3.0  # seconds that a server is asked for at a time


def describe(artifact):
    return json.loads(Path(artifact, "model.json").read_text())


def serve(artifact, port):
    """The peer."""
    import torch
    import uvicorn
    from fastapi import FastAPI, Request
    from safetensors.torch import load_file

    sys.path.insert(0, str(Path(__file__).parent))
    from network_peers import stated

    torch.set_num_threads(1)
    model = describe(artifact)
    letters = model["architecture"]["input"]["bands"]
    network = stated(model["architecture"])
    network.load_state_dict(load_file(Path(artifact, "weights.safetensors")), strict=False)
    network.eval()
    scaling = torch.tensor([[[band["mean"]], [band["deviation"]]] for band in model["scaling"]["inputs"]])
    app = FastAPI()

    @app.post("/infer")
    async def infer(request: Request):
        body = bytearray(await request.body())
        with torch.inference_mode():
            places = torch.frombuffer(body, dtype=torch.uint8).reshape(1, -1).long()
            inputs = torch.nn.functional.one_hot(places, letters).transpose(1, 2).float()
            inputs = (inputs - scaling[:, 0]) / scaling[:, 1]
            return {"probabilities": torch.softmax(network(inputs), 1)[0].tolist()}

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error")


class Ours:
    name = "forecastd"

    def __init__(self, forecastd, torch, artifact):
        self.folder = tempfile.TemporaryDirectory()
        root = Path(self.folder.name)
        (root / "forecastd.yaml").write_text(
            "state_dir: state\ncpu_threads: 1\nhttp: { listen: '127.0.0.1:0' }\n"
            f"torch: {{ executable: '{Path(torch).resolve()}', fit: never }}\n"
            "datasets: [{ name: d, kind: series, incoming: d, series: { time: t }, forecast: { horizon: 1 } }]\n"
            "models: [{ name: m, incoming: models, landing: { scan_interval: 200ms, settle: 200ms } }]\n")
        dropped = root / "models" / "one"
        dropped.mkdir(parents=True)
        for name in ("weights.safetensors", "model.json", "card.json", "BLAKE3SUMS"):
            (dropped / name).write_bytes(Path(artifact, name).read_bytes())
        command = [forecastd, "run", "--config", root / "forecastd.yaml"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if "listening on http://" in line:
                self.port = int(line.split("listening on http://")[1].split("/")[0].rsplit(":", 1)[1])
                break
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        until(lambda: get(self.port, "/v2/models/m/ready") == 200)

    def request(self, sample):
        tensor = {"name": "input", "datatype": "UINT8", "shape": [1, len(sample)], "parameters": {"binary_data_size": len(sample)}}
        header = json.dumps({"inputs": [tensor], "outputs": [{"name": "probabilities"}]}).encode()
        return "/v2/models/m/infer", {"Inference-Header-Content-Length": str(len(header))}, header + sample

    def read(self, answer):
        return answer["outputs"][0]["data"]


class Theirs:
    name = "FastAPI and PyTorch"

    def __init__(self, artifact):
        self.port = free_port()
        self.process = subprocess.Popen([sys.executable, __file__, "--serve", artifact, str(self.port)])
        until(lambda: get(self.port, "/openapi.json") == 200)

    def request(self, sample):
        return "/infer", {"Content-Type": "application/octet-stream"}, sample

    def read(self, answer):
        return answer["probabilities"]


def free_port():
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def get(port, path):
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return 0


def until(condition, patience=120):
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > patience:
            raise SystemExit("a server does not answer")
        time.sleep(0.1)


async def client(server, samples, deadline, times):
    """Asks on one connection, one request after the other; the bytes of an answer as they come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    requests = []
    for sample in samples:
        path, headers, body = server.request(sample)
        lines = [f"POST {path} HTTP/1.1", "Host: a", f"Content-Length: {len(body)}", *(f"{k}: {v}" for k, v in headers.items())]
        requests.append("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    index = 0
    while time.perf_counter() < deadline:
        started = time.perf_counter()
        writer.write(requests[index % len(requests)])
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise SystemExit(head.decode())
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
        await reader.readexactly(length)
        times.append(time.perf_counter() - started)
        index += 1
    writer.close()


def load(server, samples, connections):
    """Middle time of an answer, and answers a second."""
    times = []

    async def run():
        deadline = time.perf_counter() + TURN
        await asyncio.gather(*(client(server, samples, deadline, times) for _ in range(connections)))

    asyncio.run(run())
    return median(times), len(times) / TURN


def say(server, sample):
    path, headers, body = server.request(sample)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        raise SystemExit(f"{server.name}: {text.decode()}")
    return server.read(json.loads(text))


def main(forecastd, torch, artifact, rounds):
    shape = describe(artifact)["architecture"]["input"]
    draw = random.Random(1)
    samples = [bytes(draw.choices(range(4), k=shape["size"][0])) for _ in range(64)]
    servers = [Ours(forecastd, torch, artifact), Theirs(artifact)]
    try:
        for sample in samples[:8]:
            ours, theirs = (say(server, sample) for server in servers)
            if max(abs(a - b) for a, b in zip(ours, theirs)) > 1e-4:
                raise SystemExit(f"the networks are not the same: {ours} {theirs}")
        figures = {(server.name, n): [] for server in servers for n in (1, CONNECTIONS)}
        for number in range(rounds + 1):
            for server in servers if number % 2 else servers[::-1]:
                for connections in (1, CONNECTIONS):
                    figure = load(server, samples, connections)
                    if number:  # the first warms up
                        figures[server.name, connections].append(figure)
        print(f"sequences of {shape['size'][0]} letters, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
        print("| server | p50, 1 connection | answers/s, 1 | p50, 8 connections | answers/s, 8 |\n|---|---|---|---|---|")
        for server in servers:
            cells = []
            for connections in (1, CONNECTIONS):
                times, rates = zip(*figures[server.name, connections])
                cells += [f"{median(times) * 1e3:.2f} ms", f"{median(rates):.0f}"]
            print(f"| {server.name} | {' | '.join(cells)} |")
    finally:
        for server in servers:
            server.process.terminate()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], int(sys.argv[3]))
    else:
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("forecastd")
        parser.add_argument("torch", metavar="forecastd-torch")
        parser.add_argument("artifact")
        parser.add_argument("--rounds", type=int, default=5)
        arguments = parser.parse_args()
        main(arguments.forecastd, arguments.torch, arguments.artifact, arguments.rounds)
