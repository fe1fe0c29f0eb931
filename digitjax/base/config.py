"""Every knob of a run, as frozen values: the same config, data and seed give the same weights."""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin

from digitjax.base.errors import UsageError, nearest

Activation = Literal["relu", "gelu", "silu", "elu", "tanh"]


def _require(condition: bool, name: str, value: object, allowed: str) -> None:
    if not condition:
        raise UsageError(f"{name} is {value!r}: it must be {allowed}")


def _check_types(config: object) -> None:
    """Refuses a value of another type than its field's, which frozen dataclasses alone would let pass."""
    for declared in dataclasses.fields(config):  # pyright: ignore[reportArgumentType]
        value, kind = getattr(config, declared.name), declared.type
        if get_origin(kind) is Literal:
            if value not in get_args(kind):
                raise UsageError(f"{declared.name} is {value!r}: {nearest(str(value), get_args(kind))}")
        elif get_origin(kind) is tuple:
            whole = isinstance(value, tuple) and all(type(item) is int for item in value)
            _require(whole, declared.name, value, "a tuple of whole numbers")
        elif kind is float:
            number = type(value) in (int, float) and math.isfinite(value)
            _require(number, declared.name, value, "a finite number")
        else:
            name = {int: "a whole number", bool: "True or False", str: "a text"}.get(kind, str(kind))
            _require(type(value) is kind, declared.name, value, name)


@dataclass(frozen=True)
class ModelConfig:
    """What to build: stages of 3x3 convolutions with 2x2 pools between them, and a head."""

    network: str = "default"
    """The name of the network that the other fields of this group started from."""
    widths: tuple[int, ...] = (16, 32, 64)
    """Channels of each stage."""
    depth: tuple[int, ...] = (1, 2, 2)
    """Convolutions of each stage."""
    padding: Literal["SAME", "VALID"] = "SAME"
    """Whether convolutions keep the size of their picture (SAME) or trim its border (VALID)."""
    batch_norm: bool = True
    """Batch normalisation after each convolution."""
    head: Literal["flatten", "max", "mean"] = "max"
    """How features become a vector: all of them (after a last pool), or their maximum or mean over the picture."""
    hidden: int = 0
    """Units of the dense layer before the last; 0 for none."""
    activation: Activation = "relu"
    """The nonlinearity."""
    dropout: float = 0.0
    """Share of the head's inputs dropped in training."""
    classes: int = 10
    """Number of classes."""

    def __post_init__(self) -> None:
        _check_types(self)
        stages = 1 <= len(self.widths) <= 4 and all(1 <= width <= 4096 for width in self.widths)
        _require(stages, "widths", self.widths, "1 to 4 whole numbers from 1 to 4096")
        deep = len(self.depth) == len(self.widths) and all(1 <= layers <= 16 for layers in self.depth)
        _require(deep, "depth", self.depth, f"{len(self.widths)} whole numbers from 1 to 16, one for each of widths")
        _require(0 <= self.hidden <= 65536, "hidden", self.hidden, "from 0 to 65536")
        _require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and below 1")
        _require(2 <= self.classes <= 1000, "classes", self.classes, "from 2 to 1000")
        _require(self.sizes()[-1] >= 1, "depth", self.depth, "small enough that VALID padding leaves a picture")

    def sizes(self) -> tuple[int, ...]:
        """Height (and width) of the picture after each stage, from 28 down, its pool included where it has one."""
        size, sizes = 28, []
        for stage, layers in enumerate(self.depth):
            size -= 2 * layers if self.padding == "VALID" else 0
            size = max(size, 0) // 2 if self.pools_after(stage) else size
            sizes.append(size)
        return tuple(sizes)

    def pools_after(self, stage: int) -> bool:
        """Whether a 2x2 pool ends this stage: a global head pools the last stage by itself."""
        return self.head == "flatten" or stage < len(self.widths) - 1


@dataclass(frozen=True)
class AugmentConfig:
    """How far training pictures are changed; each is the largest change, drawn evenly from both sides. 0 is off."""

    rotation: float = 0.0
    """Degrees."""
    shift: float = 0.0
    """Pixels, in both directions."""
    zoom: float = 0.0
    """Share of the size, in both directions apart."""
    shear: float = 0.0
    """Sideways pixels a pixel of height."""
    hard: float = 1.0
    """Share of the pictures on which what follows falls; the others are only moved."""
    elastic: float = 0.0
    """Standard deviation, in pixels, of a smooth random displacement (Simard et al. 2003)."""
    stroke: float = 0.0
    """How far strokes are thickened or thinned: 1 is a pixel on both sides."""
    outline: float = 0.0
    """Chance that strokes become their outlines."""
    background: float = 0.0
    """Grey level added as an even light or a slope, as a share of white."""
    contrast: float = 0.0
    """Share of the contrast lost."""
    noise: float = 0.0
    """Standard deviation of Gaussian noise, as a share of white; half of the pictures get specks in its place."""
    blur: float = 0.0
    """Weight of the 3x3 mean mixed into the picture."""
    erase: float = 0.0
    """Chance of each of three lines of up to 3 pixels, wiped or drawn through the picture."""

    def __post_init__(self) -> None:
        _check_types(self)
        for name, most in _LARGEST_CHANGE.items():
            value = getattr(self, name)
            _require(0 <= value <= most, name, value, f"from 0 to {most}")


_LARGEST_CHANGE = dict(rotation=180, shift=28, zoom=0.9, shear=2, elastic=5) | dict.fromkeys(
    ("stroke", "outline", "hard", "background", "contrast", "noise", "blur", "erase"), 1
)


@dataclass(frozen=True)
class TrainingConfig:
    """How one step changes the weights."""

    optimizer: Literal["adam", "adamw", "sgd", "muon"] = "adamw"
    """Adam, AdamW, SGD with Nesterov momentum 0.9, or Muon (Jordan et al., 2024) for convolutions and Adam beside."""
    learning_rate: float = 8e-3
    """The largest learning rate of the schedule."""
    schedule: Literal["constant", "cosine", "one_cycle", "rising"] = "one_cycle"
    """Constant; cosine to 0; one cycle: straight up, then straight down to almost 0; rising: by factors."""
    warmup: float = 0.15
    """Share of all steps in which the learning rate rises (cosine and one_cycle)."""
    weight_decay: float = 0.02
    """Decay of the kernels (not of biases and scales); decoupled for adamw."""
    label_smoothing: float = 0.1
    """Share of each label spread over all classes."""
    ema: float = 0.998
    """Decay of the moving average of the weights, which is then what is evaluated and kept; 0 for none."""
    outliers: float = 0.0
    """Generated non-digits, as a share of the training pictures, to be like no class (Hendrycks et al. 2019)."""
    hands: float = 0.0
    """Generated digits of the hands of all countries, as a share of the training pictures."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of kernels and what they are multiplied with in training; auto: bfloat16 in large batches on accelerators."""
    one_hot: bool = False
    """Feed labels as one-hot rows in place of integers: the same loss by another road."""

    def __post_init__(self) -> None:
        _check_types(self)
        _require(0 < self.learning_rate <= 10, "learning_rate", self.learning_rate, "above 0 and at most 10")
        _require(0 <= self.warmup < 1, "warmup", self.warmup, "at least 0 and below 1")
        _require(0 <= self.weight_decay <= 1, "weight_decay", self.weight_decay, "from 0 to 1")
        _require(0 <= self.label_smoothing < 1, "label_smoothing", self.label_smoothing, "at least 0 and below 1")
        _require(0 <= self.ema < 1, "ema", self.ema, "at least 0 and below 1")
        _require(0 <= self.outliers <= 1, "outliers", self.outliers, "from 0 to 1")
        _require(0 <= self.hands <= 2, "hands", self.hands, "from 0 to 2")


@dataclass(frozen=True)
class Config:
    """One run, whole."""

    recipe: str = "default"
    """The name of the recipe that the other fields started from."""
    data: str = "auto"
    """What to learn: auto, mnist, fashion_mnist, kmnist, emnist/digits, mnist5k, a folder or an .npz file."""
    initial: str = ""
    """Weights to start from: a run folder, a model file, or pretrained (also --from); fresh ones if not given."""
    fonts: str = ""
    """A folder of handwriting fonts (npm's @fontsource), which then give half of `hands`, and letters to refuse."""
    seed: int = 0
    """Fixes the first weights, the order of the data, the augmentation and the dropout."""
    epochs: int = 9
    """How often every training picture is seen."""
    batch_size: int = 64
    """Pictures a step."""
    patience: int = 0
    """Stop after this many epochs without a lower validation loss; 0 to run all epochs."""
    validation_share: float = 0.0
    """Share of the training pictures held back, stratified; 0 for MNIST's last 5,000, or a tenth of others."""
    model: ModelConfig = field(default_factory=ModelConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        _check_types(self)
        _require(0 <= self.seed < 2**32, "seed", self.seed, "from 0 to 4294967295")
        _require(1 <= self.epochs <= 100_000, "epochs", self.epochs, "from 1 to 100000")
        _require(1 <= self.batch_size <= 65536, "batch_size", self.batch_size, "from 1 to 65536")
        _require(0 <= self.patience <= 100_000, "patience", self.patience, "from 0 to 100000")
        _require(0 <= self.validation_share <= 0.5, "validation_share", self.validation_share, "from 0 to 0.5")

    def compiled_part(self) -> "Config":
        """This config with what no compiled program depends on at its default: runs that differ there share one."""
        return dataclasses.replace(
            self, recipe="", data="", initial="", fonts="", seed=0, epochs=1, patience=0, validation_share=0.0
        )


NETWORKS: Mapping[str, ModelConfig] = {
    network.network: network
    for network in (
        ModelConfig(),
        ModelConfig("reader", (24, 48, 128), (1, 2, 2)),
        ModelConfig("reference", (32, 64), (1, 1), "VALID", False, "flatten", hidden=64, dropout=0.5),
        ModelConfig("reference_same", (32, 64), (1, 1), "SAME", False, "flatten", hidden=64, dropout=0.5),
        ModelConfig("reference_225k", (32, 64), (1, 1), "VALID", False, "flatten", hidden=128, dropout=0.5),
        ModelConfig("batchnorm", (32, 64), (2, 2), "SAME", True, "flatten", hidden=64, dropout=0.4),
    )
}

_PLAIN = TrainingConfig("adam", 1e-3, "constant", warmup=0.0, weight_decay=0.0, label_smoothing=0.0, ema=0.0)

_HARD = AugmentConfig(
    rotation=15.0,
    shift=2.0,
    zoom=0.15,
    shear=0.13,
    hard=0.6,
    elastic=1.0,
    stroke=1.0,
    outline=0.08,
    background=0.6,
    contrast=0.5,
    noise=0.2,
    blur=1.0,
    erase=0.25,
)

RECIPES: Mapping[str, Config] = {
    recipe.recipe: recipe
    for recipe in (
        Config(augment=AugmentConfig(rotation=12.0, shift=2.0, zoom=0.12, shear=0.09)),
        Config(
            "quick",
            epochs=1,
            augment=AugmentConfig(rotation=9.0, shift=1.5, zoom=0.09, shear=0.07),
            training=TrainingConfig("muon", 0.1, weight_decay=0.01, ema=0.98),
        ),
        Config(
            "default-gpu",
            epochs=16,
            batch_size=512,
            augment=AugmentConfig(rotation=12.0, shift=2.0, zoom=0.12, shear=0.09),
            training=TrainingConfig("muon", 0.2, weight_decay=0.01, ema=0.994),
        ),
        Config(
            "quick-gpu",
            epochs=4,
            batch_size=512,
            augment=AugmentConfig(rotation=9.0, shift=1.5, zoom=0.09, shear=0.07),
            training=TrainingConfig("muon", 0.2, weight_decay=0.01, ema=0.977),
        ),
        Config(
            "reader",
            epochs=14,
            model=NETWORKS["reader"],
            augment=_HARD,
            training=TrainingConfig(outliers=0.4, hands=0.6),
        ),
        Config("finetune", augment=_HARD, training=TrainingConfig(learning_rate=3e-3, outliers=0.2)),
        Config("reference", epochs=10, model=NETWORKS["reference"], training=_PLAIN),
    )
}


def recipe_for(name: str, accelerator: bool) -> Config:
    """The recipe of that name, or the one that stands in its place on an accelerator, where batches are large.

    Raises:
      UsageError: as for `named`.

    >>> recipe_for("quick", True).recipe
    'quick-gpu'
    """
    return named("recipe", f"{name}-gpu" if accelerator and f"{name}-gpu" in RECIPES else name, RECIPES)


def named(kind: str, name: str, table: Mapping[str, Any]) -> Any:
    """Looks `name` up among recipes, networks and the like.

    Raises:
      UsageError: there is none of that name; the message names the nearest.

    >>> named("recipe", "quick", RECIPES).epochs
    1
    >>> named("recipe", "quik", RECIPES)
    Traceback (most recent call last):
    digitjax.base.errors.UsageError: no recipe is called 'quik': did you mean quick or quick-gpu?
    """
    if name not in table:
        raise UsageError(f"no {kind} is called {name!r}: {nearest(name, table)}")
    return table[name]


def to_json(config: Config) -> str:
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_json(text: str) -> Config:
    """Reads what `to_json` wrote of a whole run.

    Raises:
      UsageError: not JSON, a field that is unknown or missing, a value that its field refuses.
    """
    try:
        return _build(Config, json.loads(text))
    except json.JSONDecodeError as error:
        raise UsageError(f"the config is not JSON: {error}") from error


def model_config(values: Any) -> ModelConfig:
    """The network that `dataclasses.asdict` made these values of.

    Raises:
      UsageError: as for `from_json`.
    """
    return _build(ModelConfig, values)


def _build(kind: type, values: Any) -> Any:
    _require(isinstance(values, dict), kind.__name__, values, "an object of named fields")
    fields = {declared.name: declared.type for declared in dataclasses.fields(kind)}
    for name in values:
        if name not in fields:
            raise UsageError(f"{kind.__name__} has no field {name!r}: {nearest(name, fields)}")
    for name in fields:
        if name not in values:
            raise UsageError(f"{kind.__name__} lacks the field {name!r}: was it written by another version?")

    def value(name: str, part: Any) -> Any:
        if dataclasses.is_dataclass(fields[name]):
            return _build(fields[name], part)  # pyright: ignore[reportArgumentType]
        return tuple(part) if isinstance(part, list) else part

    return kind(**{name: value(name, part) for name, part in values.items()})
