"""What a run or a model is worth: figures, pictures, a review, and the page that shows them.

- `plots`: one function a picture (the only file that knows matplotlib)
- `results`: a run's figures, pictures and provenance
- `loggers`: runs for TensorBoard and MLflow
- `corruptions`: what a digit may meet after training, and pictures that are out of distribution
- `review`: what a reviewer asks of a model
- `page`: the review as one HTML page, and as a model card
"""

__all__ = ["corruptions", "loggers", "page", "plots", "results", "review"]  # pyright: ignore[reportUnsupportedDunderAll]
