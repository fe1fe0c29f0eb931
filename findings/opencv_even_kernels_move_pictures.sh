#!/usr/bin/env bash
# opencv-python-headless 5.0.0.93 (4.14.0 does the same), numpy 2.4.6; scikit-image 0.25.2 to compare with.
# Guess: opening and closing by a square of any size leave a large solid square as it is, where it is; closing only adds to
#   bright shapes and opening only takes away (in mathematics both hold for every structuring element).
# What happens: with an even side both move the square down and to the right by one pixel: dilation and erosion look at the
#   same neighbours, where one of them ought to look at the mirrored ones. Closing takes bright pixels away then, opening adds.
# Why it matters: kernels of 2x2 and 4x4 are common for thin writing and small pictures; background estimates
#   (closing minus picture) leave an edge all around each stroke, labels move off what they label by a pixel a pass.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --quiet --disable-pip-version-check opencv-python-headless==5.0.0.93 numpy==2.4.6 scikit-image==0.25.2
cat >"$here/see.py" <<'PY'
import cv2, numpy as np
from skimage.morphology import closing, opening

square = np.zeros((40, 40), np.uint8)
square[10:30, 10:30] = 255
moved = {}
for side in (3, 4, 5, 6):
    kernel = np.ones((side, side), np.uint8)
    for name, kind, other in (("closing", cv2.MORPH_CLOSE, closing), ("opening", cv2.MORPH_OPEN, opening)):
        found, reference = cv2.morphologyEx(square, kind, kernel), other(square, kernel)
        left, top, width, height = cv2.boundingRect(found)
        moved[side, name] = (left - 10, top - 10, width - 20, height - 20)
        lost, gained = int((found < square).sum()), int((found > square).sum())
        print(f"{name} by {side}x{side}: moved by {moved[side, name][:2]}, {lost} pixels lost, {gained} gained; "
              f"scikit-image moved it: {bool((reference != square).any())}")
        assert (reference == square).all()
assert all(move == ((1, 1, 0, 0) if side % 2 == 0 else (0, 0, 0, 0)) for (side, _), move in moved.items())
PY
"$here/venv/bin/python" "$here/see.py"
