"""Digits as arrays: every file format, TFDS, the splits, the order of an epoch, and what is generated to learn from.

- `sources`: digits out of files: IDX, npz, folders
- `tfds`: data sets through TFDS (the only file that knows it)
- `datasets`: which data, how they are split, in which order an epoch visits them
- `outliers`: generated non-digits, to be learnt as like no class
- `corruptions`: what a digit may meet after training, and pictures that are out of distribution
"""

__all__ = ["corruptions", "datasets", "outliers", "sources", "tfds"]  # pyright: ignore[reportUnsupportedDunderAll]
