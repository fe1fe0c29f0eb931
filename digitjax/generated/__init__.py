"""Pictures that are written here, to learn from: hands of the world, lines of digits, and what is no digit.

- `fonts`: characters of handwriting fonts, as npm fetches them
- `hands`: digits as pen paths, with the variants that people write all over the world
- `numbers`: lines of digits, with what stands on and around them
- `outliers`: non-digits, to be learnt as like no class
- `pen`: what a pen leaves that follows a path
"""

__all__ = ["fonts", "hands", "numbers", "outliers", "pen"]  # pyright: ignore[reportUnsupportedDunderAll]
