"""How well does a trained network read pictures, family by family?

    python -m experiments.reading RUN [--each 100] [--seed 0]          (about two minutes)

Generated pictures (`experiments.pictures`, strokes of MNIST validation digits and pen paths of ours) and scikit-learn's
8 x 8 digits go through `canonical` into the network of a run folder. Bare is the same network on a mere resize. Of what
is no digit, the share that the canonicaliser leaves blank is given.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from digitjax import mesh


def bare(picture: np.ndarray) -> np.ndarray:
    """The usual way: grey, bright on dark by the mean, resized to 28 x 28."""
    grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    grey = 255 - grey if grey.mean() > 127 else grey
    return np.asarray(cv2.resize(grey, (28, 28), interpolation=cv2.INTER_AREA), np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description="How well a trained network reads pictures.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--each", type=int, default=100, help="pictures of each family")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    mesh.prepare(training=False)
    from sklearn.datasets import load_digits

    from digitjax import checkpoint
    from digitjax.canonical import canonical
    from digitjax.pixels import read_picture
    from digitjax.predict import Predictor
    from experiments.pictures import NOT_A_DIGIT, families, sample

    predictor = Predictor(checkpoint.read_config(args.run).model, checkpoint.restore_best(args.run))
    drawn = {name: sample(name, args.each, args.seed) for name in families()}
    rows, labels = load_digits(return_X_y=True)
    drawn["sklearn_8x8"] = list(zip((rows * 15).astype(np.uint8).reshape(-1, 8, 8), labels))
    print("| family | pictures | canonical, % | bare resize, % |\n|---|---|---|---|")
    for name, pairs in drawn.items():
        pixels = [read_picture(picture) for picture, _ in pairs]
        labels = np.array([label for _, label in pairs])
        forms = np.stack([canonical(picture) for picture in pixels])
        if (labels == NOT_A_DIGIT).all():
            print(f"| {name} | {len(pairs)} | {100 * (forms.max((1, 2)) == 0).mean():.1f} blank | |")
            continue
        shares = [
            100 * (predictor.logits(images).argmax(1) == labels).mean()
            for images in (forms, np.stack([bare(picture) for picture in pixels]))
        ]
        print(f"| {name} | {len(pairs)} | {shares[0]:.1f} | {shares[1]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
