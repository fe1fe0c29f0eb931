"""One jitted step and one jitted evaluation; (config, state, batch) in, (state, loss) out."""

import dataclasses
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial, reduce
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float, Float32, Int32, UInt8, UInt32

from digitjax.base import device
from digitjax.base.config import Config, ModelConfig, TrainingConfig
from digitjax.data.datasets import Dataset, padded_batches
from digitjax.network import model
from digitjax.network.augment import augment
from digitjax.network.model import AnyArray, Logits, Variables
from digitjax.training.metrics import Totals, cross_entropy, totals
from digitjax.training.muon import muon

EVALUATION_BATCH = 500
Labels = Int32[Array, " batch"]


class TrainState(NamedTuple):
    """All that a step changes, and the seed that it draws from: keys are derived from (seed, step), never stored."""

    step: Int32[Array, ""]
    seed: UInt32[Array, ""]
    params: Any
    batch_stats: Any
    opt_state: Any
    average: Variables
    """The moving average of params and batch_stats; empty where `ema` is 0."""


class StepResult(NamedTuple):
    """How one batch went, before the step changed the weights: its loss and the share it got right."""

    loss: Float32[AnyArray, "*steps"]
    accuracy: Float32[AnyArray, "*steps"]


def create_state(config: Config, total_steps: int, initial: Variables | None = None) -> TrainState:
    """The state before the first step, with fresh weights or `initial` ones; another seed compiles nothing anew."""
    state = _create_state(config.compiled_part(), total_steps, jnp.uint32(config.seed))
    if initial is None:
        return state
    # Copies: a step takes its state's memory, and the average's must be another than the weights'.
    copy = partial(jax.tree.map, jnp.array)
    return state._replace(**copy(initial), average=copy(initial) if config.training.ema else {})


def start(config: Config, total_steps: int, dataset: Dataset, initial: Variables | None = None) -> TrainState:
    """What `create_state` gives, while another core compiles `train_step`."""
    compiled = config.compiled_part()
    like = jax.eval_shape(partial(_create_state, compiled, total_steps), jax.ShapeDtypeStruct((), np.uint32))
    with ThreadPoolExecutor(1) as beside:
        # One call on a state of zeros, its result dropped: the cache of a jitted function is filled by calls alone.
        blank = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
        batch = np.zeros(config.batch_size, np.int32)
        compiling = beside.submit(train_step, compiled, total_steps, blank, dataset, batch)
        state = create_state(config, total_steps, initial)
        compiling.result()
    return state


@partial(jax.jit, static_argnames=("config", "total_steps"))
def _create_state(config: Config, total_steps: int, seed: Array) -> TrainState:
    # XLA compiles this generator three times as fast as threefry, which counts in a training of seconds.
    variables = model.init(config.model, jax.random.key(seed, impl="rbg"))
    opt_state = optimizer(config.training, total_steps).init(variables["params"])
    average = jax.tree.map(jnp.copy, variables) if config.training.ema else {}
    return TrainState(jnp.int32(0), seed, **variables, opt_state=opt_state, average=average)


def evaluated_variables(state: TrainState) -> Variables:
    """The weights that count: the moving average where there is one."""
    return state.average or {"params": state.params, "batch_stats": state.batch_stats}


def schedule(config: TrainingConfig, total_steps: int) -> optax.Schedule:
    """Learning rate by step; one_cycle after Smith and Topin (2017), with straight slopes."""
    peak, rising = config.learning_rate, round(config.warmup * total_steps)
    falling = max(1, total_steps - rising)
    if config.schedule == "constant":
        return optax.constant_schedule(peak)
    if config.schedule == "rising":  # a range test (Smith 2017): from a hundred-thousandth up
        return optax.exponential_decay(1e-5 * peak, max(1, total_steps), 1e5)
    if config.schedule == "cosine":
        decline = optax.cosine_decay_schedule(peak, falling)
    else:
        decline = optax.linear_schedule(peak, 0.003 * peak, falling)
    return optax.join_schedules([optax.linear_schedule(0.1 * peak, peak, max(1, rising)), decline], [rising])


def optimizer(config: TrainingConfig, total_steps: int) -> optax.GradientTransformation:
    rate = schedule(config, total_steps)
    if config.optimizer == "muon":
        others = schedule(dataclasses.replace(config, learning_rate=0.08 * config.learning_rate), total_steps)
        return muon(rate, others, config.weight_decay)
    if config.optimizer == "adamw":
        decay = optax.add_decayed_weights(config.weight_decay, mask=_kernels)
        return optax.chain(optax.flatten(optax.scale_by_adam(b2=0.99)), decay, optax.scale_by_learning_rate(rate))
    decay = optax.add_decayed_weights(config.weight_decay, mask=_kernels)
    step = optax.adam(rate) if config.optimizer == "adam" else optax.sgd(rate, momentum=0.9, nesterov=True)
    return optax.chain(decay, step)


def loss(config: TrainingConfig, logits: Logits, labels: Labels) -> Float[Array, ""]:
    """Mean cross-entropy in nats, of labels smoothed by `label_smoothing`, by integers or by one-hot rows."""
    classes, smoothing = logits.shape[-1], config.label_smoothing
    if config.one_hot:
        sure = jnp.where(labels[:, None] < 0, 1 / classes, jax.nn.one_hot(labels, classes))
        rows = optax.smooth_labels(sure, smoothing)
        return optax.softmax_cross_entropy(logits, rows).mean()
    return cross_entropy(logits, labels, smoothing).mean()


def step(
    config: Config,
    total_steps: int,
    state: TrainState,
    images: UInt8[Array, "batch 28 28"],
    labels: Labels,
    devices: Any = None,
) -> tuple[TrainState, StepResult]:
    """One change of the weights by one batch, which the `devices` of a mesh share. Pure; jit it or scan over it."""
    key = jax.random.fold_in(jax.random.key(state.seed), state.step)
    augment_key, dropout_key = jax.random.split(key)
    changed = augment(config.augment, images, augment_key)

    variables = {"params": state.params, "batch_stats": state.batch_stats}
    means = device.averaged(partial(_means, config, dropout_key), devices)
    gradients, batch_stats, value, right, known = means(variables, (changed, labels))
    accuracy = right / jnp.maximum(known, 1 / len(labels))
    updates, opt_state = optimizer(config.training, total_steps).update(gradients, state.opt_state, state.params)
    params: Any = optax.apply_updates(state.params, updates)
    average = state.average
    if config.training.ema:
        # A young average forgets faster, or its start would outweigh a short run (as in TensorFlow's EMA).
        decay = jnp.minimum(config.training.ema, (1.0 + state.step) / (10.0 + state.step))
        new = {"params": params, "batch_stats": batch_stats}
        average = jax.tree.map(lambda old, now: old + (1 - decay) * (now - old), state.average, new)
    return TrainState(state.step + 1, state.seed, params, batch_stats, opt_state, average), StepResult(value, accuracy)


def _means(
    config: Config, dropout_key: Array, variables: Variables, batch: tuple[Array, Labels], axis_name: str | None
) -> tuple[Any, Variables, Array, Array, Array]:
    """Gradients, new batch statistics, loss, share read rightly, share of known labels: all means over the rows."""
    images, labels = batch

    def batch_loss(params: Any) -> tuple[Array, Any]:
        own = variables | {"params": _of_precision(config, params)}
        out, batch_stats = model.training_logits(config.model, own, images, dropout_key, axis_name)
        return loss(config.training, out, labels), (batch_stats, (out.argmax(-1) == labels).mean())

    (value, (batch_stats, right)), gradients = jax.value_and_grad(batch_loss, has_aux=True)(variables["params"])
    return gradients, batch_stats, value, right, (labels >= 0).mean()


def precision(config: Config) -> Literal["float32", "bfloat16"]:
    """What convolutions compute in here: of an accelerator's batches below 256 none was faster in bfloat16."""
    if config.training.precision != "auto":
        return config.training.precision
    return "float32" if device.is_cpu() or config.batch_size < 256 else "bfloat16"


def _of_precision(config: Config, params: Any) -> Any:
    """The weights with their convolutions' kernels in that type, which their inputs follow; all else stays float32."""
    dtype = jnp.dtype(precision(config))
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if leaf.ndim == 4 else leaf, params)


@partial(jax.jit, static_argnames=("config", "total_steps", "devices"), donate_argnames="state")
def train_step(
    config: Config,
    total_steps: int,
    state: TrainState,
    dataset: Dataset,
    indices: Int32[Array, " batch"],
    devices: Any = None,
) -> tuple[TrainState, StepResult]:
    """`step` on the given rows of a data set that lies on the device: the compiled unit on a CPU."""
    return step(config, total_steps, state, dataset.images[indices], dataset.labels[indices], devices)


@partial(jax.jit, static_argnames=("config", "total_steps", "devices"), donate_argnames="state")
def train_steps(
    config: Config,
    total_steps: int,
    state: TrainState,
    dataset: Dataset,
    batches: Int32[Array, "steps batch"],
    devices: Any = None,
) -> tuple[TrainState, StepResult]:
    """Many steps as one program, with the loss of each: the compiled unit on an accelerator, an epoch at a time."""

    def body(state: TrainState, indices: Array) -> tuple[TrainState, StepResult]:
        return step(config, total_steps, state, dataset.images[indices], dataset.labels[indices], devices)

    return lax.scan(body, state, batches)


@partial(jax.jit, static_argnames=("config", "smoothing"))
def eval_step(
    config: ModelConfig,
    variables: Variables,
    dataset: Dataset,
    indices: Int32[Array, " batch"],
    weights: Float32[Array, " batch"],
    smoothing: float = 0.0,
    temperature: Float32[AnyArray, ""] | float = 1.0,
) -> Totals:
    logits = model.logits(config, variables, dataset.images[indices]) / temperature
    return totals(logits, dataset.labels[indices], weights, smoothing)


def evaluate(
    config: ModelConfig,
    variables: Variables,
    dataset: Dataset,
    batch_size: int = EVALUATION_BATCH,
    smoothing: float = 0.0,
    temperature: Float32[AnyArray, ""] | float = 1.0,
    devices: Any = None,
) -> Totals:
    """Sums over all examples, as NumPy arrays; the last batch is padded with rows that weigh nothing.

    The loss is of the plain labels unless `smoothing` says otherwise; logits are divided by `temperature`. The
    `devices` of a mesh share each batch; `variables` lie on them.
    """
    on_device = device.replicate(dataset, devices)
    share = 1 if devices is None else devices.size
    batches = padded_batches(len(dataset.labels), -(-batch_size // share) * share)
    sums = (
        eval_step(config, variables, on_device, *device.divide(batch, devices), smoothing, np.float32(temperature))
        for batch in batches
    )
    return jax.tree.map(np.asarray, reduce(Totals.merge, sums))


def _kernels(params: Mapping[str, Any]) -> Any:
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)
