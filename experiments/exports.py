"""How far from the model that ships do other runtimes answer, given its exported files?

    python -m experiments.exports          (a part of make scoreboard; a minute)

Of 1,000 digits; writes the README's table.
"""

import tempfile
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.export
import numpy as np

from digitjax.data import datasets
from digitjax.reading import artifact, export, predict
from experiments.scoreboard import fill_readme
from experiments.tables import table


def in_jax(file: Path, images: np.ndarray) -> np.ndarray:
    with np.load(file) as stored:
        program = jax.export.deserialize(bytearray(stored["program"].tobytes()))
    return np.asarray(program.call(images)["probabilities"])


def in_keras(file: Path, images: np.ndarray) -> np.ndarray:
    import keras

    assert keras.backend.backend() == "jax"
    net: Any = keras.models.load_model(file)
    return np.asarray(net(images))


def in_onnx_runtime(file: Path, images: np.ndarray) -> np.ndarray:
    import onnx
    import onnxruntime

    onnx.checker.check_model(str(file), full_check=True)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["probabilities"], {"image": images})[0])


RUNTIMES: Mapping[export.Format, tuple[str, Callable[[Path, np.ndarray], np.ndarray]]] = {
    "stablehlo": ("jax", in_jax),
    "keras": ("keras", in_keras),
    "h5": ("keras", in_keras),
    "onnx": ("onnxruntime", in_onnx_runtime),
}
"""By format, a package that reads it, and the probabilities that it gives for images."""


def main() -> None:
    images = datasets.load("mnist5k").everything().images[:1000]
    found, expected, rows = artifact.read(), predict.load().judge_alone(images).probabilities, []
    with tempfile.TemporaryDirectory() as folder:
        for kind, (package, answer) in RUNTIMES.items():
            file = Path(folder) / f"model.{kind}"
            export.write(found, kind, file)
            apart = float(np.abs(answer(file, images) - expected).max())
            rows.append((kind, f"{package} {metadata.version(package)}", f"{file.stat().st_size:,}", f"{apart:.1e}"))
    text = table("format | read by | bytes | largest difference of a probability", rows)
    text += f"\n\nmodel {found.checksum}; ONNX of opset {export.OPSET}."
    print(text)
    fill_readme("exports", text)


if __name__ == "__main__":
    main()
