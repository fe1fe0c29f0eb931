"""Digits as arrays: every file format, TFDS, the splits, the order of an epoch, and what is generated to learn from.

- `inputs`: what files hold pictures or arrays of digits, and any range of them
- `formats`: labelled digits out of files: IDX, npz, Parquet, folders
- `tfds`: data sets through TFDS (the only file that knows it)
- `datasets`: which data, how they are split, in which order an epoch visits them
- `fonts`: characters of handwriting fonts, as npm fetches them
- `hands`: digits as pen paths, with the variants that people write all over the world
- `numbers`: generated lines of digits, with what stands on and around them
- `outliers`: generated non-digits, to be learnt as like no class
"""

__all__ = ["datasets", "fonts", "formats", "hands", "inputs", "numbers", "outliers", "tfds"]  # pyright: ignore[reportUnsupportedDunderAll]
