"""The machine: which compiled path its devices get, where arrays lie on them, and the settings before JAX starts."""

import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

_AXIS = "data"
"""Of a mesh: along it its devices share a batch."""
# XLA's own products are as fast in training and faster in prediction, and YNNPACK's of jaxlib 0.10 are wrong at some
# sizes. Measured on these versions alone: a flag that a jaxlib does not know aborts the process.
_NO_YNNPACK, _KNOWN_TO = "--xla_cpu_experimental_ynn_fusion_type=", ("0.10.", "0.11.", "0.12.")
# Older code that compiles fusions: a training step is ready in two thirds of the time, and takes about as long.
_COMPILED_SOONER, _SOONER_IN = "--xla_cpu_use_fusion_emitters=false", "0.10."


def prepare(training: bool = True) -> str:
    """Sets up JAX for an entry point, before JAX starts: XLA's flags, and a cache of compiled programs.

    Returns a line for the user where there can be no cache, else ''. The environment's own settings win. With
    `training=False` each thread computes what it asks for.
    """
    leave_out_ynnpack()
    if training:
        own = os.environ.get("XLA_FLAGS", "")
        if metadata.version("jaxlib").startswith(_SOONER_IN) and _COMPILED_SOONER.partition("=")[0] not in own:
            os.environ["XLA_FLAGS"] = f"{_COMPILED_SOONER} {own}".strip()
    else:
        import jax

        jax.config.update("jax_cpu_enable_async_dispatch", False)
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return ""
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = folder / f".{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        return f"compiled programs cannot be kept in {folder} ({error.strerror}): compiling anew each time"
    import jax

    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    return ""


def leave_out_ynnpack() -> bool:
    """Asks XLA to leave out YNNPACK, whose sums are wrong at some sizes; whether that came in time.

    Whatever imports a network of ours does this, entry point or not. Where JAX has computed before, it warns, once.
    """
    own = os.environ.get("XLA_FLAGS", "")
    if not metadata.version("jaxlib").startswith(_KNOWN_TO) or _NO_YNNPACK in own:
        return True
    bridge: Any = sys.modules.get("jax._src.xla_bridge")
    if bridge is not None and bridge.backends_are_initialized():
        told = "JAX had computed before digitjax was imported, with YNNPACK, whose sums are wrong at some sizes"
        warnings.warn(f"{told}: import digitjax first, or set XLA_FLAGS={_NO_YNNPACK}", stacklevel=2)
        return False
    os.environ["XLA_FLAGS"] = f"{_NO_YNNPACK} {own}"
    return True


def cache_dir() -> Path:
    """Where this user's compiled programs are kept: apart by processor, since a home may be shared by machines."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = "".join(sorted({line for line in lines if line.startswith(("model name", "flags"))}))
    except OSError:
        processor = platform.processor()
    return home / "digitjax" / hashlib.sha256(processor.encode()).hexdigest()[:12]


def may_have_gpu() -> bool:
    """Whether JAX will find a CUDA GPU, as far as that can be told before it starts: options depend on it."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    plugin = any(importlib.util.find_spec(f"jax_cuda{version}_plugin") for version in (12, 13))
    return plugin and Path("/dev/nvidiactl").exists() and ("cuda" in platforms or "gpu" in platforms or not platforms)


def is_cpu() -> bool:
    """Whether programs are compiled for a CPU: the operations of `ops` then take their own path there."""
    import jax

    return jax.default_backend() == "cpu"


def compiles_epochs() -> bool:
    """Whether an epoch is one program here. On a CPU a convolution is slow inside a loop, so there a step is."""
    return not is_cpu()


def data_parallel(local: bool = False) -> Any:
    """All devices, or those of this process, as a `jax.sharding.Mesh` of the axis `data`; None where there is one."""
    import jax

    devices = jax.local_devices() if local else jax.devices()
    automatic = (jax.sharding.AxisType.Auto,)
    return jax.make_mesh((len(devices),), (_AXIS,), automatic, devices=devices) if len(devices) > 1 else None


def replicate(tree: Any, devices: Any = None) -> Any:
    """A tree of arrays on the device, or whole on each device of a mesh."""
    import jax

    return jax.device_put(tree) if devices is None else _laid(tree, devices, lambda _: ())


def divide(tree: Any, devices: Any = None, axis: int = -1) -> Any:
    """The tree with each array divided along an axis among a mesh's devices; a process lays out its own share."""

    def axes(array: Any) -> tuple[str | None, ...]:
        return tuple(_AXIS if place == axis % array.ndim else None for place in range(array.ndim))

    return tree if devices is None else _laid(tree, devices, axes)


def averaged(means: Callable[..., Any], devices: Any = None) -> Callable[..., Any]:
    """`means(whole, divided, axis_name)`, which returns means over the rows of `divided`, on all devices of a mesh.

    Each takes its share of the rows. All means travel as one array: between processes an exchange takes about as long
    whatever it holds, and there would be one for each kernel if XLA were left to place them.
    """
    if devices is None:
        return partial(means, axis_name=None)
    import jax
    from jax import lax
    from jax.flatten_util import ravel_pytree
    from jax.sharding import PartitionSpec

    def share(whole: Any, divided: Any) -> Any:
        flat, unravel = ravel_pytree(means(whole, divided, _AXIS))
        return unravel(lax.pmean(flat, _AXIS))

    places = (PartitionSpec(), PartitionSpec(_AXIS))
    return jax.shard_map(share, mesh=devices, in_specs=places, out_specs=PartitionSpec(), check_vma=False)


def _laid(tree: Any, devices: Any, axes: Callable[[Any], tuple[str | None, ...]]) -> Any:
    import jax
    import numpy as np
    from jax.sharding import NamedSharding, PartitionSpec

    def laid(leaf: Any) -> Any:
        array = np.asarray(leaf)
        sharding = NamedSharding(devices, PartitionSpec(*axes(array)))
        return jax.make_array_from_callback(array.shape, sharding, lambda place: array[place])

    return jax.tree.map(laid, tree)


def trouble(error: BaseException) -> str:
    """What to do about an error that JAX raises for want of memory or of a device; '' for any other."""
    platforms, text = os.environ.get("JAX_PLATFORMS"), str(error)
    if "RESOURCE_EXHAUSTED" in text:
        return (
            "the device has not the memory that this takes: give a smaller --batch-size or network; "
            "what else holds its memory, nvidia-smi says"
        )
    # JAX asserts without a word where the plugin of a known platform is not installed.
    if platforms and ("Unable to initialize backend" in text or (isinstance(error, AssertionError) and not text)):
        return f"JAX_PLATFORMS is {platforms!r}, and JAX finds no such device: unset it, or ask 'digitjax doctor'"
    return ""


def share_memory(among: int) -> None:
    """Lets each of several processes take its part of a GPU's memory, before JAX starts: one takes three quarters."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.75 / among:.3f}")


def describe() -> dict[str, Any]:
    """Versions, devices, and a sentence of advice about the GPU."""
    import jax

    devices, lost = [], ""
    try:
        devices = jax.devices()
    except (RuntimeError, AssertionError) as error:
        lost = trouble(error) or str(error)

    gpu_here, gpu_used = shutil.which("nvidia-smi") is not None, bool(devices) and not is_cpu()
    if lost:
        advice = lost
    elif gpu_here and not gpu_used:
        advice = "a CUDA GPU is here and JAX does not use it: run 'make setup', or pip install 'digitjax[cuda]'"
    elif gpu_used:
        advice = "training runs on the accelerator, an epoch as one program"
    else:
        advice = "no CUDA GPU was found: training runs on the CPU, which takes about two minutes for the default recipe"
    return {
        "versions": versions(),
        "devices": [f"{device.platform} {device.device_kind}" for device in devices],
        "cores": os.cpu_count(),
        "cache": str(cache_dir()),
        "YNNPACK": "left out" if _NO_YNNPACK in os.environ.get("XLA_FLAGS", "") else "as jaxlib has it",
        "advice": advice,
    }


def commit() -> str:
    """The commit of the checkout that this package runs from, '-dirty' where it has changes; '' outside of one."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        tracked = subprocess.run(["git", "-C", str(here), "ls-files", "--error-unmatch", __file__], capture_output=True)
        found = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return ""
    return found.stdout.strip() if tracked.returncode == found.returncode == 0 else ""


def versions() -> dict[str, str]:
    """Of Python, of this package, and of those that what it computes depends on."""
    names = ("digitjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy")
    return {"python": platform.python_version()} | {name: _version(name) for name in names}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
