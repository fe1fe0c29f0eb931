#!/usr/bin/env bash
# opencv-python-headless 5.0.0.93, scipy 1.17.1, numpy 2.4.6.
# Guess: connected components are numbered as they are met, row by row, so that label 1 is the piece whose first pixel comes
#   first, as SciPy numbers them; which neighbours count and which algorithm looks changes what is one piece, not the order.
# What happens: with 8 neighbours (the default) OpenCV goes by blocks of two rows and two columns: of two pieces that begin in
#   the two rows of one pair, the one further left comes first, though it begins a row lower. With 4 neighbours, or with
#   CCL_WU, it is row by row. So labels change places when a picture moves down by one row, and when 8 becomes 4.
# Why it matters: code that takes labels as reading order, or compares with SciPy's or scikit-image's by number, is right on most
#   pictures, and on pages of specks for hardly any: the statistics of `connectedComponentsWithStats` come in that order.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --quiet --disable-pip-version-check \
    opencv-python-headless==5.0.0.93 scipy==1.17.1 numpy==2.4.6
cat >"$here/see.py" <<'PY'
import cv2
import numpy as np
from scipy import ndimage


def by_first_pixel(labels):
    """The labels in the order in which their first pixels come, row by row."""
    found, first = np.unique(labels, return_index=True)
    return [int(label) for label in found[np.argsort(first)] if label]


def numbers(picture, connectivity, kind=cv2.CCL_DEFAULT):
    return by_first_pixel(cv2.connectedComponentsWithAlgorithm(picture, connectivity, cv2.CV_32S, kind)[1])


two = np.zeros((4, 8), np.uint8)
two[0, 6] = two[1, 0] = 1  # the right one begins a row above the left one
lower = np.roll(two, 1, axis=0)
found = {"8 neighbours": numbers(two, 8), "4 neighbours": numbers(two, 4), "8 by CCL_WU": numbers(two, 8, cv2.CCL_WU),
         "8 neighbours, a row lower": numbers(lower, 8)}
for name, labels in found.items():
    print(f"{name}: the piece that begins first has label {labels[0]}, the other {labels[1]}")
assert found == {"8 neighbours": [2, 1], "4 neighbours": [1, 2], "8 by CCL_WU": [1, 2], "8 neighbours, a row lower": [1, 2]}
specks = (np.random.default_rng(0).random((400, 400)) < 0.1).astype(np.uint8)
theirs = by_first_pixel(ndimage.label(specks, np.ones((3, 3)))[0])
ours = numbers(specks, 8)
same = float(np.mean(np.array(ours) == np.array(theirs)))
print(f"of {len(ours)} specks {100 * same:.1f} % have the number that SciPy gives; SciPy's are in order: {theirs == sorted(theirs)}")
assert theirs == sorted(theirs)
assert len(ours) == len(theirs)
assert same < 0.1
PY
"$here/venv/bin/python" "$here/see.py"
