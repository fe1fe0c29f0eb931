"""A trained model at work: on arrays, pictures, pages, millions of files, and in other runtimes.

- `trust`: calibrated confidence; digit, unsure, or not a digit
- `artifact`: a trained model as one file: read and write
- `upright`: data sets that lie on their side or are mirrored, put right
- `predict`: Predictor: a trained model ready for use
- `strips`: the line network ready for use
- `layout`, `lines`: several digits in one picture: where its lines are, what they say, which ink is whose
- `tables`: what was read of a table, in rows and columns
- `files`: pictures on disk: which are meant, the answer to each
- `bulk`: pictures by the million, answered here or on Ray
- `export`: StableHLO, safetensors, Keras, HDF5 and ONNX files
"""

__all__ = ["artifact", "bulk", "export", "files", "layout", "lines", "predict", "strips", "tables", "trust", "upright"]  # pyright: ignore[reportUnsupportedDunderAll]
