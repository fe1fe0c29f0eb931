"""Every exported file answers in the other runtime as its source does here, and no foreign file runs anything."""

import dataclasses
import json
import subprocess
import sys
from functools import cache, partial

import jax
import jax.export
import numpy as np
import pytest
import safetensors
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from digitjax.__main__ import main
from digitjax.base.config import NETWORKS, ModelConfig
from digitjax.base.errors import DigitjaxError, UsageError
from digitjax.network import model
from digitjax.reading import artifact, export, strips, trust
from digitjax.reading.artifact import Artifact
from digitjax.reading.predict import Judged, Predictor, load
from experiments import exports

TOLERANCE = 1e-5
"""The largest difference of a probability."""
IMAGES = np.random.default_rng(1).integers(0, 256, (4, 28, 28)).astype(np.uint8)
SMALL = ModelConfig("small", (4, 6), (1, 1), "VALID", True, "max")
STAGES = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 2)), min_size=1, max_size=2)
FIELDS = st.fixed_dictionaries(
    {
        "padding": st.sampled_from(["SAME", "VALID"]),
        "batch_norm": st.booleans(),
        "head": st.sampled_from(["flatten", "max", "mean"]),
        "hidden": st.sampled_from([0, 5]),
        "dropout": st.sampled_from([0.0, 0.5]),
    }
)


@cache
def taught(config: ModelConfig) -> Artifact:
    """A network with weights, biases and statistics of its own everywhere, and trust."""
    draw, variables = np.random.default_rng(0), model.init(config, jax.random.key(0))
    variables = jax.tree.map(
        lambda leaf: leaf + draw.uniform(0, 0.2 * (leaf.ndim == 1), leaf.shape).astype(np.float32), variables
    )
    # Limits that others set: an image that set one lies on it, and rounding would decide on which side.
    others = np.random.default_rng(2).integers(0, 256, (40, 28, 28)).astype(np.uint8)
    logits, embedding = jax.jit(model.logits_and_embedding, static_argnums=0)(config, variables, others)
    learnt = trust.learn(others, logits, embedding, np.arange(40, dtype=np.int32) % 10)
    learnt = learnt._replace(temperature=np.asarray(2 * np.std(logits), np.float32))  # no probability is near 1
    return Artifact(config, jax.tree.map(np.asarray, variables), learnt, {"recipe": "taught"})


@cache
def source(config: ModelConfig) -> Judged:
    return Predictor(*taught(config)[:3]).judge(IMAGES)


def assert_alike(config: ModelConfig, probabilities: np.ndarray) -> None:
    expected = source(config).probabilities
    assert expected.max() < 0.9
    np.testing.assert_allclose(probabilities, expected, atol=TOLERANCE)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A small network's file."""
    file = tmp_path_factory.mktemp("program") / "model.stablehlo"
    export.write(taught(SMALL), "stablehlo", file)
    return file


# Keras's own ways: how it hands its variables to NumPy, and how it adds a bias.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(autouse=True, scope="module")
def _keras_promotes_ranks():
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kind", ["stablehlo", "keras", "onnx"])
def test_every_network_answers_alike_in_the_other_runtime(kind, name, tmp_path):
    file = tmp_path / f"model.{kind}"
    export.write(taught(NETWORKS[name]), kind, file)
    assert_alike(NETWORKS[name], exports.RUNTIMES[kind][1](file, IMAGES))
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


@pytest.mark.slow
@settings(max_examples=3)
@given(stages=STAGES, fields=FIELDS)
@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "elu", "tanh"])
def test_any_network_answers_alike_in_the_other_runtime(activation, stages, fields, tmp_path_factory):
    widths, depth = zip(*stages)
    config = ModelConfig("drawn", widths, depth, activation=activation, **fields)
    folder = tmp_path_factory.mktemp("any")
    for kind in ("stablehlo", "keras", "onnx"):
        export.write(taught(config), kind, folder / f"model.{kind}")
        assert_alike(config, exports.RUNTIMES[kind][1](folder / f"model.{kind}", IMAGES))


@pytest.mark.parametrize("kind", exports.RUNTIMES)
def test_one_file_takes_any_number_of_images(kind, tmp_path):
    file, (_, answer) = tmp_path / f"model.{kind}", exports.RUNTIMES[kind]
    export.write(taught(SMALL), kind, file)
    assert_alike(SMALL, answer(file, IMAGES))
    several = answer(file, np.concatenate([IMAGES] * 3))
    assert_alike(SMALL, several[4:8])
    assert_alike(SMALL, np.concatenate([answer(file, IMAGES[:1]), several[1:4]]))


@pytest.mark.parametrize("order", ["C", "F"])
def test_safetensors_come_back_equal_with_their_config_however_they_lay_in_memory(tmp_path, order):
    found, file = taught(SMALL), tmp_path / "model.safetensors"
    found = found._replace(variables=jax.tree.map(partial(np.asarray, order=order), found.variables))
    export.write(found, "safetensors", file)
    arrays = load_file(file)
    assert arrays.keys() == artifact.flat(found).keys()
    for name, array in artifact.flat(found).items():
        np.testing.assert_array_equal(arrays[name], array)
    with safetensors.safe_open(file, "np") as stream:
        told = json.loads(stream.metadata()["digitjax"])
    assert told == {"model": json.loads(json.dumps(dataclasses.asdict(SMALL))), "card": found.card}


def test_an_exported_program_needs_no_model_code(program, tmp_path, monkeypatch):
    """Neither in a process that knows JAX alone, nor in a predictor, which gives its verdicts too."""
    np.save(tmp_path / "images.npy", IMAGES)
    code = (
        f"import sys, jax, jax.export, numpy as np; stored = np.load('{program}');"
        "program = jax.export.deserialize(stored['program'].tobytes());"
        "assert set(program.platforms) == {'cpu', 'cuda'};"
        "np.save('out.npy', program.call(np.load('images.npy'))['probabilities']);"
        "assert not {'digitjax', 'flax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, check=True)
    assert_alike(SMALL, np.load(tmp_path / "out.npy"))
    logits, predictor = Predictor(*taught(SMALL)[:2]).logits(IMAGES), load(str(program))

    def forbidden(*_: object) -> None:
        raise AssertionError("our model code ran")

    for name in ("logits", "logits_and_embedding"):
        monkeypatch.setattr(model, name, forbidden)
    assert_alike(SMALL, predictor.judge(IMAGES).probabilities)
    np.testing.assert_array_equal(predictor.judge(IMAGES).verdicts, source(SMALL).verdicts)
    np.testing.assert_allclose(predictor.logits(IMAGES), logits, atol=1e-4)


@pytest.mark.torture
def test_damaged_and_foreign_programs_are_refused(program, tmp_path):
    bad, content = tmp_path / "bad.npz", program.read_bytes()
    for size in (0, 100, len(content) // 2, len(content) - 1):
        bad.write_bytes(content[:size])
        with pytest.raises(DigitjaxError, match="is no model"):
            artifact.read(bad)
    with np.load(program) as stored:
        arrays = dict(stored)
    packed, image = arrays["program"].tobytes(), jax.ShapeDtypeStruct((1, 28, 28), np.uint8)
    other = jax.export.export(jax.jit(lambda images: images.sum()))(image).serialize()
    for foreign in (b"", packed[: len(packed) // 2], bytes(range(256)) * 9, other):
        np.savez(bad, **arrays | {"program": np.frombuffer(foreign, np.uint8)})
        with pytest.raises(DigitjaxError, match=r"is no model of digitjax, or damaged \(its program"):
            artifact.read(bad)


@pytest.mark.torture
@given(place=st.floats(0, 1, exclude_max=True), flipped=st.integers(1, 255))
def test_a_file_with_one_changed_byte_is_refused_or_is_the_same_model(program, place, flipped):
    content, good, bad = bytearray(program.read_bytes()), artifact.read(program), program.with_name("bad")
    content[int(place * len(content))] ^= flipped
    bad.write_bytes(content)
    try:
        found = artifact.read(bad)
    except DigitjaxError:
        return
    assert artifact.about(found) == artifact.about(good)
    assert found.program.serialize() == good.program.serialize()
    for name, array in artifact.flat(good).items():
        np.testing.assert_array_equal(artifact.flat(found)[name], array)


@pytest.mark.parametrize("kind", ["safetensors", "h5", "keras", "onnx"])
def test_what_other_runtimes_read_is_no_model_of_ours(kind, tmp_path):
    export.write(taught(SMALL), kind, tmp_path / f"model.{kind}")
    with pytest.raises(DigitjaxError, match="is no model of digitjax"):
        load(str(tmp_path / f"model.{kind}"))


def test_a_program_that_would_call_other_code_is_refused(tmp_path):
    """A custom call is how a program leaves StableHLO: it reaches whatever is registered in the process."""
    found = taught(SMALL)

    def trap(images: jax.Array) -> dict[str, jax.Array]:
        answers = export.answers(found.config, *jax.device_put((found.variables, found.trust)), images)
        qr, _ = jax.numpy.linalg.qr(answers["logits"])  # LAPACK, by a custom call
        return answers | {"logits": answers["logits"] + 0 * qr.sum()}

    trapped = jax.export.export(jax.jit(trap))(jax.ShapeDtypeStruct((1, 28, 28), np.uint8))
    artifact.write(tmp_path / "trap.stablehlo", found._replace(program=trapped))
    with pytest.raises(DigitjaxError, match="leaves StableHLO by custom_call"):
        load(str(tmp_path / "trap.stablehlo"))


@pytest.mark.parametrize("kind", export.FORMATS)
def test_the_command_line_exports_into_a_new_file_alone(kind, tmp_path, capsys):
    artifact.write(tmp_path / "model.npz", taught(SMALL))
    file = tmp_path / f"model.{kind}"
    command = ["export", "--format", kind, "--out", str(file), "--model", str(tmp_path / "model.npz"), "--json"]
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {
        "file": str(file),
        "format": kind,
        "bytes": file.stat().st_size,
        "model": artifact.read(tmp_path / "model.npz").checksum,
    }
    before = file.read_bytes()
    assert main(command) == 2
    assert "is there already" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_every_command_takes_what_was_exported_as_stablehlo(tmp_path, few, capsys):
    file = tmp_path / "pretrained.stablehlo"
    assert main(["export", "--format", "stablehlo", "--out", str(file)]) == 0
    expected, given = (load(name).judge_alone(few.test.images) for name in ("pretrained", str(file)))
    np.testing.assert_array_equal(given.digits, expected.digits)
    np.testing.assert_array_equal(given.verdicts, expected.verdicts)
    np.testing.assert_allclose(given.probabilities, expected.probabilities, atol=TOLERANCE)
    np.savez(tmp_path / "few.npz", images=few.test.images, labels=few.test.labels)
    capsys.readouterr()
    for which in ("pretrained", str(file)):
        assert main(["evaluate", "--model", which, "--data", str(tmp_path / "few.npz"), "--json"]) == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["accuracy"] == second["accuracy"]


@pytest.mark.parametrize(("kind", "package"), [("keras", "keras"), ("h5", "h5py"), ("onnx", "onnx"),
                                               ("safetensors", "safetensors.numpy")])  # fmt: skip
def test_a_missing_package_is_named_with_what_to_install(kind, package, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DigitjaxError, match=r"pip install 'digitjax\[export\]'"):
        export.write(taught(SMALL), kind, tmp_path / f"model.{kind}")
    assert not list(tmp_path.iterdir())


def test_keras_files_carry_the_ending_that_keras_asks_for(tmp_path):
    with pytest.raises(UsageError, match=r"does not end in \.h5"):
        export.write(taught(SMALL), "h5", tmp_path / "model.hdf5")


@pytest.mark.parametrize("kind", ["keras", "onnx"])
def test_an_interrupted_write_leaves_nothing(kind, tmp_path, monkeypatch):
    def interrupted(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export.write(taught(SMALL), kind, tmp_path / f"model.{kind}")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_said(tmp_path):
    for kind in set(export.FORMATS) - {"h5"}:  # Keras makes the folder
        with pytest.raises(DigitjaxError, match="cannot be written"):
            export.write(taught(SMALL), kind, tmp_path / "none" / f"model.{kind}")


@pytest.mark.parametrize(("batch", "width"), [(1, 64), (3, 208)])
def test_the_line_network_says_the_same_in_every_runtime(tmp_path, batch, width):
    import onnxruntime

    drawn = np.random.default_rng(width).integers(0, 256, (batch, 40, width)).astype(np.uint8)
    variables, _ = strips.read(strips.FILE)
    expected = np.asarray(model.line_logits(jax.device_put(variables), drawn))
    for kind in ("onnx", "stablehlo", "safetensors"):
        assert main(["export", "--model", "lines", "--format", kind, "--out", str(tmp_path / kind)]) == 0
    session = onnxruntime.InferenceSession(str(tmp_path / "onnx"), providers=["CPUExecutionProvider"])
    logits, probabilities = session.run(None, {"image": drawn})
    program = jax.export.deserialize(bytearray((tmp_path / "stablehlo").read_bytes()))
    for found in (logits, np.asarray(program.call(drawn))):
        np.testing.assert_allclose(found, expected, atol=2e-4)
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)
    assert {name: array.shape for name, array in load_file(tmp_path / "safetensors").items()} == {
        name: array.shape for name, array in artifact.named_leaves(variables).items()
    }
    assert main(["export", "--model", "lines", "--format", "keras", "--out", str(tmp_path / "a.keras")]) == 2
    assert not (tmp_path / "a.keras").exists()
