#!/usr/bin/env bash
# opencv-python-headless 5.0.0.93, numpy 2.4.6.
# Guess: uint32 is new in OpenCV 5, and sumElems and mean, which answer in float64, sum it as they sum int32 and uint16:
#   exactly, or nearly so, whatever the numbers.
# What happens: from 2**30 up several numbers are added as 32-bit integers before they become float64, and the carry is
#   lost: the mean of sixteen times 2**30 is 0. A single number, or a mask, is summed rightly, and so is meanStdDev of the same.
# Why it matters: packed colours (opaque RGBA as one uint32 is above 2**31), label and object identifiers from engines that
#   render data sets, and depth in fine units are such numbers; the mean is no longer within their range, and nothing says so.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --quiet --disable-pip-version-check opencv-python-headless==5.0.0.93 numpy==2.4.6
cat >"$here/see.py" <<'PY'
import cv2, numpy as np

means = {}
for value in (10_000, 2**29, 2**30, 2**31, 2**32 - 1):
    grid = np.full((16, 16), value, np.uint32)
    everywhere = np.ones(grid.shape, np.uint8)
    means[value] = (cv2.mean(grid)[0], cv2.mean(grid, everywhere)[0], float(cv2.meanStdDev(grid)[0][0, 0]), cv2.sumElems(grid)[0])
    print(f"256 times {value}: mean {means[value][0]:.0f}, with a mask of everything {means[value][1]:.0f}, "
          f"by meanStdDev {means[value][2]:.0f}; sum {means[value][3]:.0f}, in truth {256 * value}")
assert all(mean == masked == value for value, (mean, masked, *_) in means.items() if value < 2**30)
assert all(mean < 2**30 and by_deviation == value for value, (mean, _, by_deviation, _) in means.items() if value >= 2**30)
assert means[2**30][0] == means[2**30][3] == 0
PY
"$here/venv/bin/python" "$here/see.py"
