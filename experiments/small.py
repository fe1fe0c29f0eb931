"""How well does a network of fewer than 10,000 parameters read?

    python -m experiments.small [--seeds 5] [--epochs 20] [--data mnist]      (an estimated 45 minutes on two cores)

The design is chosen among a few on the validation digits, at a quarter of the epochs and one seed; the one chosen is
trained with every seed, and the test split read once a run. The goal is a mean of 99.4 %. Writes results/small.jsonl
and .md.

Answer: 99.55 ± 0.06 % of the test digits with 9,490 parameters. Deep and narrow is better than wide.
"""

from dataclasses import replace

from digitjax.base.config import RECIPES, AugmentConfig, Config, ModelConfig
from digitjax.data import datasets
from experiments.ledger import RESULTS, measured
from experiments.tables import table
from experiments.trials import RUNS, arguments, figures, report, spread, trained

MOST = 10_000
DESIGNS = {
    "wide, 5 convolutions": ModelConfig("small", (8, 15, 20), (1, 2, 2)),
    "deep, 7 convolutions": ModelConfig("small", (8, 12, 16), (2, 2, 3)),
    "middling, 7 convolutions": ModelConfig("small", (8, 12, 15), (1, 3, 3)),
}
# A small network underfits: it gets milder changes, no decay of its weights and less smoothing than the recipe.
RECIPE = replace(
    RECIPES["default"],
    augment=AugmentConfig(rotation=9.0, shift=1.5, zoom=0.09, shear=0.07),
    training=replace(RECIPES["default"].training, learning_rate=0.015, weight_decay=0.0, label_smoothing=0.03),
)


def of(design: str, epochs: int, seed: int) -> Config:
    return replace(RECIPE, model=DESIGNS[design], epochs=epochs, seed=seed)


def main() -> None:
    args = arguments(__doc__, seeds=5, epochs=20).parse_args()
    splits = datasets.load(args.data)
    file = None if args.quick else RESULTS / "small.jsonl"

    def measure(design: str, epochs: int, seed: int, tested: bool, **_: object) -> dict:
        config = of(design, epochs, seed)
        run = None if args.quick else RUNS / "small" / f"{list(DESIGNS).index(design)}-{epochs}-{seed}"
        row = figures(config, splits, trained(config, splits, run), tested)
        assert row["parameters"] < MOST
        return row

    trying = {"epochs": max(1, args.epochs // 4), "seed": 0, "data": args.data, "tested": False}
    tried = measured(file, [{"design": name, **trying} for name in list(DESIGNS)[: 1 if args.quick else None]], measure)
    best = max(tried, key=lambda row: row["validation_accuracy"])["design"]
    final = {"design": best, "epochs": args.epochs, "data": args.data, "tested": True}
    rows = measured(file, [final | {"seed": seed} for seed in range(args.seeds)], measure)
    lines = [
        (row["design"], f"{row['parameters']:,}", row["epochs"], spread([row], "validation_accuracy", 2), "", 1)
        for row in tried
    ]
    lines.append(
        (best, f"{rows[0]['parameters']:,}", args.epochs, spread(rows, "validation_accuracy", 2))
        + (spread(rows, "accuracy"), len(rows))
    )
    head = "design | parameters | epochs | validation accuracy, % | test accuracy, % | seeds"
    report(
        "small",
        f"{table(head, lines)}\n\n{args.data}. The goal is 99.4 % with fewer than {MOST:,}.",
        args.quick,
    )


if __name__ == "__main__":
    main()
