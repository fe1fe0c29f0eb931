"""What all tests share: strict settings, and real digits, which are MNIST where it can be had."""

import os
from pathlib import Path

import hypothesis
import jax
import numpy as np
import pytest

from digitjax.base.config import ModelConfig
from digitjax.base.device import cache_dir, leave_out_ynnpack
from digitjax.data import datasets
from digitjax.data.datasets import Dataset, Splits
from digitjax.data.tfds import LOCAL_MNIST
from digitjax.network import model
from digitjax.reading import artifact, trust

hypothesis.settings.register_profile("laws", deadline=None, max_examples=25, derandomize=True)
hypothesis.settings.load_profile("laws")
# Tests compile much and compute little: half their time goes if XLA leaves out most of what makes programs fast.
# The processes that tests start find a user's flags.
leave_out_ynnpack()
USERS_FLAGS = os.environ.get("XLA_FLAGS", "")
COMPILED_SOONER = f"--xla_backend_optimization_level=0 {USERS_FLAGS}"
os.environ["XLA_FLAGS"] = COMPILED_SOONER
jax.devices()
os.environ["XLA_FLAGS"] = USERS_FLAGS
jax.config.update("jax_numpy_rank_promotion", "raise")
# Two workers, and the processes that tests start, compile the same programs: each is kept, as for users.
jax.config.update("jax_compilation_cache_dir", str(cache_dir()))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)

MNIST = os.environ.get(LOCAL_MNIST)


def pytest_report_header() -> str:
    return f"digits: MNIST from {MNIST}" if MNIST else f"digits: mnist5k ({LOCAL_MNIST} is not set: MNIST's tests skip)"


@pytest.fixture(scope="session")
def compiled_sooner() -> dict[str, str]:
    """The environment of a process that compiles much and computes little, too."""
    return {"XLA_FLAGS": COMPILED_SOONER}


@pytest.fixture(scope="session", autouse=True)
def _own_data_dir(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever TFDS prepared for this machine's user stays out of the tests."""
    os.environ["TFDS_DATA_DIR"] = str(tmp_path_factory.mktemp("tfds"))


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The folder with MNIST's four files. In CI its absence is a failure, elsewhere the test skips."""
    if not MNIST:
        assert not os.environ.get("DIGITJAX_MNIST_REQUIRED"), f"{LOCAL_MNIST} must be set here"
        pytest.skip(f"MNIST's own test needs {LOCAL_MNIST}, a folder with its four IDX files")
    return Path(MNIST)


@pytest.fixture(scope="session")
def splits() -> Splits:
    """Real digits, mixed: MNIST where it lies on this machine, else its 5,000, which lie by class."""
    found, draw = datasets.load(MNIST or "mnist5k"), np.random.default_rng(0)
    if MNIST:
        return found
    mixed = [part.take(draw.permutation(len(part.labels))) for part in (found.train, found.validation, found.test)]
    return found._replace(train=mixed[0], validation=mixed[1], test=mixed[2])


@pytest.fixture(scope="session")
def few(splits: Splits) -> Splits:
    """Real digits, few enough to train on in a test."""

    def first(part: Dataset, size: int) -> Dataset:
        return Dataset(part.images[:size], part.labels[:size])

    return splits._replace(
        train=first(splits.train, 256), validation=first(splits.validation, 100), test=first(splits.test, 100)
    )


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory, few: Splits) -> Path:
    """A model file of a small network that has learnt nothing, but whose trust has."""
    config = ModelConfig("small", (4, 6), (1, 1), "VALID", True, "max")
    file = tmp_path_factory.mktemp("weights") / "model.npz"
    variables = model.init(config, jax.random.key(0))
    images, labels = few.validation
    taught = trust.learn(images, *model.logits_and_embedding(config, variables, images), labels)
    artifact.write(file, artifact.Artifact(config, jax.tree.map(np.asarray, variables), taught, {}))
    return file
