"""From data and a config to trained variables, and the folder that a run leaves.

- `muon`: Muon for convolutions, quick to compile
- `metrics`: sums that add up: loss, accuracy, confusion, calibration
- `train`: one jitted step, one jitted evaluation, the optimizer
- `checkpoint`: a run's folder on disk (the only file that knows Orbax)
- `fit`: the loop over epochs: early stopping, resume, one callback an epoch
- `lines`: how the line reader learns
"""

__all__ = ["checkpoint", "fit", "lines", "metrics", "train"]  # pyright: ignore[reportUnsupportedDunderAll]
