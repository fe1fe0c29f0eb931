"""What is written comes back, equal content gives equal bytes, and a foreign file is refused in a sentence."""

import tracemalloc
import zipfile

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import digitjax
from digitjax.base.config import ModelConfig
from digitjax.base.errors import DigitjaxError
from digitjax.network import model
from digitjax.reading import artifact
from digitjax.reading.artifact import Artifact
from digitjax.reading.trust import Trust

CONFIG = ModelConfig("small", (4, 6), (1, 1), "VALID", True, "max")


def some(seed: int = 0) -> Artifact:
    draw = np.random.default_rng(seed)
    variables = jax.tree.map(np.asarray, model.init(CONFIG, jax.random.key(seed)))
    shapes = {"temperature": (), "whitening": (6, 6), "centres": (10, 6), "limits": (4,), "least_confidence": ()}
    parts = {name: np.asarray(draw.random(shapes[name]), np.float32) for name in Trust._fields}
    return Artifact(CONFIG, variables, Trust(**parts), {"seed": seed})


@given(seed=st.integers(0, 2**31))
def test_a_model_comes_back_as_it_was(tmp_path_factory, seed):
    file = tmp_path_factory.mktemp("model") / "model.npz"
    artifact.write(file, some(seed))
    found = artifact.read(file)
    assert found.config == CONFIG
    assert found.card == {"seed": seed}
    for mine, theirs in zip(jax.tree.leaves(some(seed)[1:3]), jax.tree.leaves(found[1:3])):
        np.testing.assert_array_equal(mine, theirs)


def test_equal_content_gives_equal_bytes_and_one_identity(tmp_path):
    for name in ("a", "b"):
        artifact.write(tmp_path / name, some())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    artifact.write(tmp_path / "c", some(1))
    sums = {artifact.read(tmp_path / name).checksum for name in "abc"}
    assert len(sums) == 2


def test_every_cut_and_every_foreign_file_is_refused(tmp_path):
    file, bad = tmp_path / "model.npz", tmp_path / "bad.npz"
    artifact.write(file, some())
    content = file.read_bytes()
    for size in (0, 1, 100, len(content) // 2, len(content) - 1):
        bad.write_bytes(content[:size])
        with pytest.raises(DigitjaxError, match=r"bad\.npz is no model"):
            artifact.read(bad)
    np.savez(bad, images=np.zeros(3))
    with pytest.raises(DigitjaxError, match="is no model"):
        artifact.read(bad)
    np.savez(bad, about=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DigitjaxError, match="is no model"):
        artifact.read(bad)


@pytest.mark.parametrize("change", ["missing", "shape", "dtype"])
def test_weights_that_do_not_fit_their_network_are_refused(tmp_path, change):
    artifact.write(tmp_path / "model.npz", some())
    with np.load(tmp_path / "model.npz") as stored:
        arrays = dict(stored)
    name = "variables/params/output/kernel"
    if change == "missing":
        del arrays[name]
    else:
        arrays[name] = arrays[name][:1] if change == "shape" else arrays[name].astype(np.float64)
    np.savez(tmp_path / "changed.npz", **arrays)
    with pytest.raises(DigitjaxError, match="is no model"):
        artifact.read(tmp_path / "changed.npz")


def test_no_pickle_is_ever_opened(tmp_path):
    """A file whose array is a pickle that would write a file: refused, and nothing is written."""
    artifact.write(tmp_path / "model.npz", some())
    trap = tmp_path / "trap.npz"
    ran = tmp_path / "ran"
    payload = f"cpathlib\nPath\n(S'{ran}'\ntR.".encode()
    header = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n"
    with zipfile.ZipFile(trap, "w") as archive:
        archive.writestr("about.npy", header + payload)
    with pytest.raises(DigitjaxError, match="is no model"):
        artifact.read(trap)


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(DigitjaxError, match="no model is called"):
        digitjax.load(str(tmp_path / "nothing"))
    with pytest.raises(DigitjaxError, match="no finished run"):
        digitjax.load(str(tmp_path))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused_by_their_name(tmp_path, value):
    found = artifact.read()
    broken = jax.tree.map(np.array, found.variables)
    broken["params"]["output"]["bias"][3] = value
    artifact.write(tmp_path / "model.npz", found._replace(variables=broken))
    with pytest.raises(DigitjaxError, match=r"output/bias has numbers that are none"):
        artifact.read(tmp_path / "model.npz")


def test_a_small_file_of_large_arrays_takes_no_memory(tmp_path):
    file = tmp_path / "model.npz"
    with np.load(artifact.PRETRAINED) as stored:
        np.savez_compressed(file, **dict(stored), extra=np.zeros((64, 1 << 20), np.uint8))
    tracemalloc.start()
    with pytest.raises(DigitjaxError, match="packed into"):
        artifact.read(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
