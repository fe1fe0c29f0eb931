#!/usr/bin/env bash
# opencv-python-headless 5.0.0.93, numpy 2.4.6 (4.14.0 does the same, and had no 64-bit integers of its own).
# Guess: OpenCV 5 knows 64-bit integers (cv2.CV_64S, cv2.CV_64U are there), so NumPy's int64, its own default, goes in and
#   comes out as it is; or what cannot be done with it is an error, as it is for bool and for uint32.
# What happens: the Python binding casts int64 and uint64 to int32 on the way in, and what does not fit wraps around
#   without a word: countNonZero of numbers that are multiples of 2**32 is 0, minMaxLoc gives negative ends, flip gives other
#   numbers in another dtype.
# Why it matters: times in nanoseconds, sums of pictures, hashes and keys of cells are int64; min, max, counts, flips and
#   borders of them are wrong, and only where numbers are large, which tests on small ones never see.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --quiet --disable-pip-version-check opencv-python-headless==5.0.0.93 numpy==2.4.6
cat >"$here/see.py" <<'PY'
import cv2, numpy as np

seen = {}
for name, values in {"small": [1, 2, 3, 4], "from 2**31": [2**31 + n for n in range(4)], "multiples of 2**32": [n << 32 for n in range(1, 5)]}.items():
    for dtype in (np.int64, np.uint64):
        grid = np.array(values, dtype).reshape(2, 2)
        flipped = cv2.flip(grid, 1)
        seen[name, dtype] = (cv2.countNonZero(grid), cv2.minMaxLoc(grid)[:2], bool((flipped == grid[:, ::-1]).all()), flipped.dtype)
        print(f"{name}, {grid.dtype}: not zero {seen[name, dtype][0]} of 4, min and max {seen[name, dtype][1]}, "
              f"flipped rightly: {seen[name, dtype][2]}, as {flipped.dtype}")
print("OpenCV's own 64-bit types:", cv2.CV_64S, cv2.CV_64U)
assert all(row[3] == np.int32 for row in seen.values())
assert all(seen["small", dtype][2] for dtype in (np.int64, np.uint64))
assert seen["from 2**31", np.int64][1] == (-(2.0**31), -(2.0**31) + 3) and not seen["from 2**31", np.int64][2]
assert seen["multiples of 2**32", np.int64][:2] == (0, (0.0, 0.0))
PY
"$here/venv/bin/python" "$here/see.py"
