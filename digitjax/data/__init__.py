"""Digits as arrays: every file format, TFDS, the splits, the order of an epoch.

- `inputs`: what files hold pictures or arrays of digits, and any range of them
- `arrays`: arrays by name, out of any file that holds some
- `arrow`: Parquet and Arrow: columns of pictures and of labels
- `formats`: labelled digits out of files and folders, in MNIST's form, their levels put right
- `tfds`: data sets through TFDS (the only file that knows it)
- `datasets`: which data, how they are split, in which order an epoch visits them
"""

__all__ = ["arrays", "arrow", "datasets", "formats", "inputs", "tfds"]  # pyright: ignore[reportUnsupportedDunderAll]
