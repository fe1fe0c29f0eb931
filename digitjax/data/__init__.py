"""Digits as arrays: every file format, TFDS, the splits, the order of an epoch.

- `inputs`: what files hold pictures or arrays of digits, and any range of them
- `arrays`: arrays by name, out of any file that holds some
- `arrow`: Parquet and Arrow: columns of pictures and of labels
- `formats`: what arrays of digits mean: shapes, levels, labels, parts; in MNIST's form in the end
- `sources`: labelled digits out of files and folders of any form
- `tfds`: data sets through TFDS (the only file that knows it)
- `datasets`: which data, how they are split, in which order an epoch visits them
"""

__all__ = ["arrays", "arrow", "datasets", "formats", "inputs", "sources", "tfds"]  # pyright: ignore[reportUnsupportedDunderAll]
