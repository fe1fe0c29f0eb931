"""A peer of the service on FastAPI, in the peers' environment: python serving_peer.py SIDE PORT FOLDER.

Each takes {"image": 784 integers} at /predict and answers the digit and its probabilities. FOLDER holds the same
network as weights.npz, as weights.onnx and as jax_export.bin.
"""

import sys
from pathlib import Path

import numpy as np


def softmax(logits):
    odds = np.exp(logits - logits.max())
    return odds / odds.sum()


def jax_model(folder: Path):
    import jax

    jax.config.update("jax_cpu_enable_async_dispatch", False)
    exported = jax.export.deserialize(bytearray((folder / "jax_export.bin").read_bytes()))
    call = jax.jit(exported.call)
    return lambda image: np.asarray(call(image[None]))[0]


def onnx_model(folder: Path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / "weights.onnx", options, providers=["CPUExecutionProvider"])
    return lambda image: session.run(["logits"], {"image": image[None]})[0][0]


def keras_model(folder: Path):
    import keras
    from keras import layers

    net = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, padding="same", activation="relu", name="convolution_0"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, padding="same", activation="relu", name="convolution_1"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, activation="relu", name="hidden"),
            layers.Dense(10, name="output"),
        ]
    )
    with np.load(folder / "weights.npz") as weights:
        for name in ("convolution_0", "convolution_1", "hidden", "output"):
            net.get_layer(name).set_weights([weights[f"{name}/kernel"], weights[f"{name}/bias"]])
    return lambda image: net.predict(image[None, ..., None].astype(np.float32) / 255, verbose=0)[0]


MODELS = {
    "FastAPI, same jitted model": jax_model,
    "FastAPI, ONNX Runtime": onnx_model,
    "FastAPI, Keras predict": keras_model,
}


def answer(model, image: list[int]) -> dict:
    probabilities = softmax(model(np.array(image, np.uint8).reshape(28, 28)))
    return {"digit": int(probabilities.argmax()), "probabilities": probabilities.tolist()}


def fastapi(make, port: int, folder: Path) -> None:
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel

    app, model = FastAPI(), make(folder)

    class Request(BaseModel):
        image: list[int]

    @app.post("/predict")
    async def predict(request: Request) -> dict:
        return answer(model, request.image)

    answer(model, [0] * 784)
    uvicorn.run(app, port=port, log_level="error", loop="uvloop", http="httptools")


if __name__ == "__main__":
    side, port, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    fastapi(MODELS[side], port, folder)
