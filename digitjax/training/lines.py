"""How the line reader learns: generated lines, varied anew at each step, by connectionist temporal classification."""

import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Float32, Int32

from digitjax.base.disk import write_file
from digitjax.base.errors import DigitjaxError
from digitjax.generated import numbers
from digitjax.generated.numbers import Numbers
from digitjax.network import model
from digitjax.network.model import BLANK, AnyArray, LineLogits, Strips, Variables

GROUP = 4  # batches that are drawn together
WIDTHS = (80, 112, 144, 176, numbers.WIDTH)
Labels = Int32[AnyArray, "batch _"]
Lengths = Int32[AnyArray, " batch"]
OnReport = Callable[[Mapping[str, float | int]], None]


@dataclass(frozen=True)
class LineConfig:
    """One training of the line reader."""

    seed: int = 0
    lines: int = 160_000
    """Generated once; each is seen several times, never twice alike."""
    steps: int = 22_000
    batch_size: int = 64
    learning_rate: float = 4e-3
    weight_decay: float = 0.02
    ema: float = 0.998


class LineState(NamedTuple):
    """All that a step changes; keys are derived from (seed, step)."""

    step: Int32[Array, ""]
    params: Any
    batch_stats: Any
    opt_state: Any
    average: Variables


def loss(logits: LineLogits, labels: Labels, lengths: Lengths) -> Float[Array, " batch"]:
    """Minus the log probability of each line's digits, in nats (Graves et al. 2006)."""
    padding = (jnp.arange(labels.shape[1])[None] >= lengths[:, None]).astype(logits.dtype)
    return optax.ctc_loss(logits, jnp.zeros(logits.shape[:2]), labels, padding, blank_id=BLANK)


def optimizer(config: LineConfig) -> optax.GradientTransformation:
    rate = optax.warmup_cosine_decay_schedule(0, config.learning_rate, config.steps // 20, config.steps, 1e-5)
    return optax.adamw(rate, weight_decay=config.weight_decay, mask=partial(jax.tree.map, lambda leaf: leaf.ndim > 1))


@partial(jax.jit, static_argnames="config")
def create_state(config: LineConfig, initial: Variables | None = None) -> LineState:
    """The state before the first step, with fresh weights or copies of `initial` ones."""
    variables = jax.tree.map(jnp.copy, initial) if initial else model.init_lines(jax.random.key(config.seed))
    opt_state = optimizer(config).init(variables["params"])
    return LineState(jnp.int32(0), **variables, opt_state=opt_state, average=jax.tree.map(jnp.copy, variables))


@partial(jax.jit, static_argnames="config", donate_argnames="state")
def train_step(
    config: LineConfig, state: LineState, strips: Strips, labels: Labels, lengths: Lengths
) -> tuple[LineState, Float32[Array, ""]]:
    """One change of the weights by one batch, and its mean loss before it."""

    def batch_loss(params: Any) -> tuple[Array, Variables]:
        key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        logits, stats = model.training_line_logits({"params": params, "batch_stats": state.batch_stats}, strips, key)
        return loss(logits, labels, lengths).mean(), stats

    (value, stats), gradients = jax.value_and_grad(batch_loss, has_aux=True)(state.params)
    updates, opt_state = optimizer(config).update(gradients, state.opt_state, state.params)
    params: Any = optax.apply_updates(state.params, updates)
    decay = jnp.minimum(config.ema, (1.0 + state.step) / (10.0 + state.step))
    new = {"params": params, "batch_stats": stats}
    average = jax.tree.map(lambda old, now: old + (1 - decay) * (now - old), state.average, new)
    return LineState(state.step + 1, params, stats, opt_state, average), value


def fit(
    config: LineConfig,
    learnt: Numbers,
    validation: Numbers,
    file: Path,
    on_report: OnReport = lambda _: None,
    every: int = 250,
    initial: Variables | None = None,
) -> Variables:
    """Trains to the end, from where `file` stands, which is written every so many steps and at the end.

    Raises:
      DigitjaxError: the loss is no longer a number, or the file is of another training.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    begin = partial(create_state, config, initial)
    state = _restored(file, jax.eval_shape(begin)) if file.exists() else begin()
    values: list[Any] = []
    unseen = numbers.strips(validation, np.arange(len(validation.widths), dtype=np.int32), np.random.default_rng(0))

    @lru_cache(2)
    def drawn(group: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Batches of lines of like length, in any order: the shorter have less to compute."""
        draw = np.random.default_rng((config.seed, group, 5))
        places = draw.integers(len(learnt.widths), size=GROUP * config.batch_size).astype(np.int32)
        made = numbers.strips(learnt, places, draw)
        ends = (made.any(1) * np.arange(1, numbers.WIDTH + 1)).max(1)
        batches = []
        for mine in draw.permutation(np.argsort(ends, kind="stable").reshape(GROUP, -1)):
            width = next(width for width in WIDTHS if width >= ends[mine].max())
            batches.append((made[mine, :, :width], learnt.labels[places[mine]], learnt.lengths[places[mine]]))
        return batches

    def batch(step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return drawn(step // GROUP)[step % GROUP]

    with ThreadPoolExecutor(1) as beside:
        coming = beside.submit(batch, int(state.step))
        for step in range(int(state.step), config.steps):
            given, coming = coming, beside.submit(batch, step + 1)
            state, value = train_step(config, state, *given.result())
            values.append(value)
            if (step + 1) % every == 0 or step + 1 == config.steps:
                mean = float(np.mean([float(one) for one in values]))
                if not np.isfinite(mean):
                    raise DigitjaxError(f"the loss at step {step + 1} is {mean}: lower the learning rate")
                values.clear()
                _save(file, state)
                on_report({"step": step + 1, "loss": mean, "whole": whole(state.average, unseen, validation)})
    return jax.tree.map(np.asarray, state.average)


_logits = jax.jit(model.line_logits)


def whole(variables: Variables, strips: np.ndarray, expected: Numbers) -> float:
    """The share of lines that are read rightly from their first digit to their last, on the likeliest way."""
    right = 0
    for start in range(0, len(strips), 100):
        best = np.asarray(_logits(variables, strips[start : start + 100])).argmax(-1)
        rows = zip(best, expected.labels[start:], expected.lengths[start:])
        right += sum(model.line_digits(row) == labels[:length].tolist() for row, labels, length in rows)
    return right / len(strips)


def _save(file: Path, state: LineState) -> None:
    def save(temporary: Path) -> None:
        with temporary.open("wb") as stream:
            np.savez(stream, *[np.asarray(leaf) for leaf in jax.tree.leaves(state)])

    write_file(file, save)


def _restored(file: Path, like: LineState) -> LineState:
    leaves, structure = jax.tree.flatten(like)
    try:
        with np.load(file, allow_pickle=False) as stored:
            found = [stored[f"arr_{place}"] for place in range(len(leaves))]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DigitjaxError(f"{file} is damaged ({error}): delete it and start again") from error
    if [leaf.shape for leaf in leaves] != [leaf.shape for leaf in found]:
        raise DigitjaxError(f"{file} is of another network: delete it and start again")
    return jax.tree.unflatten(structure, [jnp.asarray(leaf) for leaf in found])
