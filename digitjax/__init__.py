"""digitjax: pictures of digits in, trusted digits out.

What most programs need is offered here; the rest is in the rooms (sub-packages), each of which says what it is for
and exports modules by its `__all__`.
"""

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from digitjax.base.config import RECIPES, Config
    from digitjax.data.datasets import load as load_data
    from digitjax.picture.canonical import canonical
    from digitjax.reading.lines import read
    from digitjax.reading.predict import Predictor, load
    from digitjax.training.fit import fit
    from digitjax.training.metrics import accuracy
    from digitjax.training.train import evaluate

__all__ = ["RECIPES", "Config", "Predictor", "accuracy", "canonical", "evaluate", "fit", "load", "load_data", "read"]

_PLACES = {
    "RECIPES": "base.config",
    "Config": "base.config",
    "Predictor": "reading.predict",
    "accuracy": "training.metrics",
    "canonical": "picture.canonical",
    "evaluate": "training.train",
    "fit": "training.fit",
    "load": "reading.predict",
    "load_data": "data.datasets:load",
    "read": "reading.lines",
}


def __getattr__(name: str) -> Any:
    # JAX is imported where it is used: the package itself opens at once.
    if name == "__version__":
        return metadata.version("digitjax")
    if name not in _PLACES:
        raise AttributeError(f"module 'digitjax' has no attribute {name!r}: it offers {', '.join(__all__)}")
    module, _, there = _PLACES[name].partition(":")
    return getattr(import_module(f"digitjax.{module}"), there or name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
