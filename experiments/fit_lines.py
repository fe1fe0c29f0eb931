"""What should `digitjax.reading.lines` weigh? Its `DIGIT` and `DROP`, by maximum likelihood.

    python -m experiments.fit_lines [MODEL] [--each 60]          (about ten minutes)

Of all ways to fall into digits, a line of a generated number fell into one that says what was written: its chance is a
sum over those ways, divided by the sum over all ways (a conditional random field over segments; Sarawagi & Cohen 2004).
Prints the weights; they go into `digitjax/lines.py` by hand, and are tested on other families and another seed.
"""

import argparse
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy import optimize

from digitjax.base import device

PIECES, DIGITS = 48, 16
NEVER = -1e9
HOPELESS = -15.0  # lines that no weights could save (an unread digit, lost ink) pull no further


def table(line: Any, candidates: list[Any], judged: Any, text: str) -> dict[str, np.ndarray] | None:
    """A line's terms in arrays of one size: by the place where a segment stops, and by its pieces."""
    from digitjax.reading.lines import FLAT, MOST_PIECES, digit_terms, drop_terms

    count = len(line.boxes)
    if count > PIECES or len(text) > DIGITS:
        return None
    terms, dropped = digit_terms(candidates, judged), drop_terms(line)
    segment = np.zeros((PIECES, MOST_PIECES, terms.shape[1]), np.float32)
    chance = np.full((PIECES, MOST_PIECES, 10), NEVER, np.float32)
    for candidate, row, probabilities in zip(candidates, terms, judged.probabilities):
        place = candidate.stop - 1, candidate.stop - candidate.first - 1
        segment[place], chance[place] = row, np.log(probabilities + 1e-6)
    drop = np.zeros((PIECES, dropped.shape[1]), np.float32)
    drop[:count] = dropped
    alone = np.zeros(PIECES, bool)
    flat = line.boxes[:, 3] - line.boxes[:, 1] < FLAT * line.height
    alone[:count] = (np.bincount(line.components)[line.components] == 1) | flat
    digits = np.zeros(DIGITS, np.int32)
    digits[: len(text)] = [int(digit) for digit in text]
    return dict(
        segment=segment, chance=chance, drop=drop, alone=alone, digits=digits, count=np.array([count, len(text)])
    )


def log_chance(weights: dict[str, Any], line: dict[str, Any]) -> Any:
    """The log probability of a line's text, over all segmentations."""
    by_digit = line["chance"] + (line["segment"] @ weights["digit"])[..., None]
    drop = jnp.where(line["alone"], line["drop"] @ weights["drop"], NEVER)
    longest = by_digit.shape[1]
    anything, right = jax.nn.logsumexp(by_digit, axis=-1), by_digit[:, :, line["digits"]]

    def step(last, place):
        any_last, right_last = last  # the latest first
        any_here, right_here, drop_here = place
        grown = jnp.pad(right_last[:, :-1] + right_here, ((0, 0), (1, 0)), constant_values=NEVER)
        any_new = jnp.logaddexp(jax.nn.logsumexp(any_last + any_here), any_last[0] + drop_here)
        right_new = jnp.logaddexp(jax.nn.logsumexp(grown, axis=0), right_last[0] + drop_here)
        return (
            jnp.concatenate([any_new[None], any_last[:-1]]),
            jnp.concatenate([right_new[None], right_last[:-1]]),
        ), (any_new, right_new)

    start = jnp.full(longest, NEVER).at[0].set(0.0), jnp.full((longest, DIGITS + 1), NEVER).at[0, 0].set(0.0)
    _, (any_all, right_all) = jax.lax.scan(step, start, (anything, right, drop))
    pieces, length = line["count"]
    return right_all[pieces - 1, length] - any_all[pieces - 1]


def fit(rows: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    data = {name: jnp.asarray(np.stack([row[name] for row in rows])) for name in rows[0]}
    start = {"digit": np.zeros(rows[0]["segment"].shape[-1]), "drop": np.zeros(rows[0]["drop"].shape[-1])}
    flat, restore = ravel_pytree(start)

    @jax.jit
    def loss(flat, data):
        chances = jax.vmap(log_chance, (None, 0))(restore(flat), data)
        return -jnp.maximum(chances, HOPELESS).mean() + 1e-4 * (flat**2).sum()

    def value(at):
        found, slope = jax.value_and_grad(loss)(jnp.asarray(at, jnp.float32), data)
        return float(found), np.asarray(slope, np.float64)

    best = optimize.minimize(value, np.asarray(flat, np.float64), jac=True, method="L-BFGS-B", options={"maxiter": 60})
    print(f"{len(rows)} lines, mean log chance {-best.fun:.3f}")
    return {name: np.asarray(part) for name, part in restore(jnp.asarray(best.x, jnp.float32)).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="What should digitjax.reading.lines weigh?")
    parser.add_argument("model", nargs="?", default="pretrained", help="a run folder, a model file, or pretrained")
    parser.add_argument("--each", type=int, default=60, help="pictures of each family")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    device.prepare(training=False)
    import digitjax
    from digitjax.picture.pixels import read_picture
    from digitjax.reading import layout
    from digitjax.reading.lines import candidates_of
    from experiments.pictures import GROUPS, sample

    predictor, rows, left_out = digitjax.load(args.model), [], 0
    for family in GROUPS["strings"]:
        for picture, label in sample(family, args.each, args.seed):
            found, lines = layout.lines(layout.look(read_picture(picture)).found)
            texts = str(label).split("\n")
            if len(lines) != len(texts):
                left_out += 1
                continue
            for line, text in zip(lines, texts):
                candidates = candidates_of(found, line)
                judged = predictor.judge(np.stack([candidate.form for candidate in candidates]))
                rows.append(table(line, candidates, judged, text))
    print(f"{left_out} pictures whose lines were not found are left out")
    for name, weights in fit([row for row in rows if row]).items():
        print(name.upper(), np.round(weights.astype(float), 2).tolist())


if __name__ == "__main__":
    main()
