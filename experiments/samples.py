"""Which pictures can a newcomer try at once? Makes experiments/samples anew, by pen paths of ours alone (seconds).

python -m experiments.samples
"""

from pathlib import Path

import cv2
import numpy as np

from digitjax.picture.pixels import read_picture
from experiments import pictures
from experiments.pictures import drawings, photos, strings

FOLDER = Path(__file__).parent / "samples"
LONGEST = 400


def main() -> None:
    """One picture a file; its name says what is on it. All are small, so that a clone stays small."""
    rng = np.random.default_rng(0)
    families = pictures.families()
    made = {
        f"photo_{digit}.jpg": families[family](rng, digit)
        for digit, family in zip((7, 4, 2), list(photos.FAMILIES)[:3])
    }
    made["drawing_5.png"] = families[next(iter(drawings.FAMILIES))](rng, 5)
    made["number_2047.jpg"] = families[next(iter(strings.FAMILIES))](rng, [[2, 0, 4, 7]])
    FOLDER.mkdir(exist_ok=True)
    for name, picture in made.items():
        pixels = np.asarray(read_picture(picture))
        zoom = min(1.0, LONGEST / max(pixels.shape[:2]))
        small = cv2.resize(pixels, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(FOLDER / name), small)


if __name__ == "__main__":
    main()
