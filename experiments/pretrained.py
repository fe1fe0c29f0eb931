"""Makes the model that ships: the recipe reader, seed 0.

    python -m experiments.pretrained            (make pretrained; 10 to 15 minutes on two cores)

Trains in outputs/scoreboard/reader-0 (a finished run there is taken as it is: the same seed gives the same weights),
then writes digitjax/weights/pretrained.npz and its card.
"""

import argparse
import shutil

from digitjax.reading import artifact
from experiments.scoreboard import RUNS, train

CARD = """# The model that ships

Written by `make pretrained`; `digitjax predict` and the service load it. What it reads beyond MNIST is in the README's
table of pictures, made by `python -m experiments.reading`.

| | |
|---|---|
{rows}
"""


def main() -> None:
    argparse.ArgumentParser(description="Makes the model that ships.").parse_args()
    row = train("reader", 0, "mnist")
    target = artifact.PRETRAINED
    target.parent.mkdir(exist_ok=True)
    shutil.copy(RUNS / "reader-0" / artifact.MODEL, target)
    found = artifact.read()
    figures, origin = found.card["figures"], found.card["provenance"]
    low, high = figures["accuracy_interval"]
    facts = {
        "network": f"{found.config.network}, {figures['parameters']:,} parameters",
        "file": f"{target.stat().st_size:,} bytes",
        "model": found.checksum,
        "recipe": f"{origin['recipe']}, seed {origin['seed']}, {figures['epochs']} epochs",
        "data": f"{origin['data']}, SHA-256 {origin['data_checksum']}",
        "commit": origin["commit"],
        "versions": ", ".join(f"{name} {version}" for name, version in origin["versions"].items()),
        "trained on": f"{origin['device']}, {figures['training_seconds']:.0f} s",
        "MNIST test accuracy": f"{figures['accuracy']:.4f} (95 % interval {low:.4f} to {high:.4f})",
        "ECE, loss (after temperature)": f"{figures['ece']:.4f}, {figures['loss']:.4f}",
        "verdicts on the MNIST test digits": ", ".join(f"{k} {v:.4f}" for k, v in figures["verdicts"].items()),
        "weights": f"SHA-256 {row['weights_checksum']}",
    }
    rows = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    target.with_name("README.md").write_text(CARD.format(rows=rows))


if __name__ == "__main__":
    main()
