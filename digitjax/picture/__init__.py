"""Any picture to the 28 x 28 that MNIST would have made of it. NumPy and OpenCV alone: no JAX here.

- `pixels`: any picture -> pixels, the right way up
- `ink`: pixels -> strokes, free of paper, light and ruling (polarity is decided here)
- `frames`: ink without what forms print around digits
- `canonical`: strokes -> MNIST's form
- `strips`: a line of writing at one height
"""

__all__ = ["canonical", "frames", "ink", "pixels", "strips"]  # pyright: ignore[reportUnsupportedDunderAll]
