"""Asks a running forecastd for what a network says of sequences, with NVIDIA's own client, unmodified.

    triton.py HOST:PORT MODEL VERSION SEQUENCES

SEQUENCES is a JSON list of texts. Prints one JSON object: what the client read, and the answers by each way.
"""

import json
import sys
import time

import numpy as np
import tritonclient.http as triton

address, model, version, sequences = sys.argv[1:]
sequences = json.loads(sequences)
client = triton.InferenceServerClient(address)
assert client.is_server_live() and client.is_server_ready()
assert client.is_model_ready(model) and client.is_model_ready(model, version)
assert not client.is_model_ready("nobody")

metadata = client.get_model_metadata(model)
config = client.get_model_config(model, version)
index = client.get_model_repository_index()
(tensor,) = metadata["inputs"]


def ask(binary, **more):
    texts = np.array([text.encode() for text in sequences], dtype=np.object_)
    given = triton.InferInput(tensor["name"], [len(sequences)], tensor["datatype"])
    given.set_data_from_numpy(texts, binary_data=binary)
    names = [output["name"] for output in metadata["outputs"]]
    wanted = [triton.InferRequestedOutput(name, binary_data=binary) for name in names]
    return client.infer(model, [given], outputs=wanted, **more)


def read(result):
    return {
        "probabilities": result.as_numpy("probabilities").tolist(),
        "class": result.as_numpy("class").tolist(),
        "label": [label if isinstance(label, str) else label.decode() for label in result.as_numpy("label")],
    }


texts = np.array([text.encode() for text in sequences], dtype=np.object_)
given = triton.InferInput(tensor["name"], [len(sequences)], tensor["datatype"])
given.set_data_from_numpy(texts)
everything = client.infer(model, [given])  # all outputs, in binary form
likeliest = client.infer(model, [given], outputs=[triton.InferRequestedOutput("probabilities", class_count=1)])

try:
    client.infer("nobody", [given])
    refusal = "none"
except triton.InferenceServerException as error:
    refusal = f"{error.status()}: {error.message()}" if hasattr(error, "message") else str(error)

pending = [client.async_infer(model, [given]) for _ in range(4)]
together = [read(one.get_result()) for one in pending]

# Eight connections with a request on each all the time, as perf_analyzer has it at concurrency 8.
crowd = triton.InferenceServerClient(address, concurrency=8)
started = time.monotonic()
pending = []
for number in range(800):
    one = triton.InferInput(tensor["name"], [1], tensor["datatype"])
    one.set_data_from_numpy(texts[[number % len(sequences)]])
    pending.append(crowd.async_infer(model, [one]))
crowded = [read(one.get_result())["probabilities"][0] for one in pending]
seconds = time.monotonic() - started

print(
    json.dumps(
        {
            "metadata": metadata,
            "config": config,
            "index": index,
            "binary": read(ask(True, request_id="one", timeout=5_000_000)),
            "json": read(ask(False)),
            "by_version": read(ask(True, model_version=version)),
            "everything": read(everything),
            "together": together,
            "crowded": crowded,
            "requests_per_second": len(crowded) / seconds,
            "likeliest": [text.decode() for text in likeliest.as_numpy("probabilities")[:, 0]],
            "refusal": refusal,
            "statistics": client.get_inference_statistics(model),
        }
    )
)
