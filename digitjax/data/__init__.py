"""Digits as arrays: every file format, TFDS, the splits, the order of an epoch.

- `inputs`: what files hold pictures or arrays of digits, and any range of them
- `formats`: labelled digits out of files: IDX, npz, Parquet, folders
- `tfds`: data sets through TFDS (the only file that knows it)
- `datasets`: which data, how they are split, in which order an epoch visits them
"""

__all__ = ["datasets", "formats", "inputs", "tfds"]  # pyright: ignore[reportUnsupportedDunderAll]
