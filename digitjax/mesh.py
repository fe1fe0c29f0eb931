"""The machine: which compiled path its devices get, and the settings that must be made before JAX starts."""

import os
import platform
import shutil
from importlib import metadata
from typing import Any

# Flags by the jaxlib versions they were measured on: one that a jaxlib does not know aborts the process.
_XLA_FLAGS = {"0.10.": "--xla_cpu_experimental_ynn_fusion_type=dot"}


def set_flags() -> None:
    """Sets XLA's flags for this jaxlib, unless the environment sets its own; for entry points, before JAX starts."""
    version = metadata.version("jaxlib")
    for tested, flags in _XLA_FLAGS.items():
        if version.startswith(tested):
            os.environ.setdefault("XLA_FLAGS", flags)


def compiles_epochs() -> bool:
    """Whether an epoch is one program here. On a CPU a convolution is slow inside a loop, so there a step is."""
    import jax

    return jax.default_backend() != "cpu"


def describe() -> dict[str, Any]:
    """Versions, devices, and a sentence of advice about the GPU."""
    import jax

    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy")
    versions = {"python": platform.python_version()} | {name: _version(name) for name in packages}
    gpu_here, gpu_used = shutil.which("nvidia-smi") is not None, jax.default_backend() != "cpu"
    if gpu_here and not gpu_used:
        advice = "a CUDA GPU is here and JAX does not use it: run 'make setup', or pip install 'digitjax[cuda]'"
    elif gpu_used:
        advice = "training runs on the accelerator, an epoch as one program"
    else:
        advice = "no CUDA GPU was found: training runs on the CPU, which takes about two minutes for the default recipe"
    return {
        "versions": versions,
        "devices": [f"{device.platform} {device.device_kind}" for device in jax.devices()],
        "cores": os.cpu_count(),
        "advice": advice,
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
