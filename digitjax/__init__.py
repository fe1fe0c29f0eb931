"""digitjax: pictures of digits in, trusted digits out."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from digitjax.predict import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    # JAX is imported where it is used: the package itself opens at once.
    if name != "load":
        raise AttributeError(f"module 'digitjax' has no attribute {name!r}")
    from digitjax.predict import load

    return load
