"""A config is a value: it survives JSON, refuses what cannot work, and says what it would have taken."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from digitjax.base import config
from digitjax.base.config import NETWORKS, RECIPES, AugmentConfig, Config, ModelConfig, TrainingConfig
from digitjax.base.errors import UsageError

CONFIGS = st.builds(
    Config,
    recipe=st.text(max_size=9),
    seed=st.integers(0, 2**32 - 1),
    epochs=st.integers(1, 99),
    validation_share=st.floats(0, 0.5),
    model=st.sampled_from(list(NETWORKS.values())),
    augment=st.builds(AugmentConfig, rotation=st.floats(0, 180), erase=st.floats(0, 1)),
    training=st.builds(TrainingConfig, learning_rate=st.floats(1e-9, 10), one_hot=st.booleans()),
)


@given(CONFIGS)
def test_a_config_survives_json(made):
    again = config.from_json(config.to_json(made))
    assert again == made
    assert hash(again) == hash(made)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (Config, "epochs", 0),
        (Config, "epochs", "5"),
        (Config, "epochs", True),
        (Config, "batch_size", -1),
        (Config, "seed", 2**32),
        (Config, "validation_share", 0.6),
        (ModelConfig, "activation", "rellu"),
        (ModelConfig, "widths", (0, 1, 2)),
        (ModelConfig, "widths", [1, 2, 3]),
        (ModelConfig, "depth", (1, 2)),
        (ModelConfig, "dropout", 1.0),
        (AugmentConfig, "shift", -0.1),
        (AugmentConfig, "shift", float("nan")),
        (TrainingConfig, "learning_rate", 0.0),
        (TrainingConfig, "ema", 1.0),
        (TrainingConfig, "optimizer", "adamW"),
    ],
)
def test_a_bad_value_is_refused_by_field_and_value(kind, field, value):
    # In the tests jaxtyping is there first for wrong types; elsewhere the config checks for itself.
    with pytest.raises((UsageError, TypeCheckError), match=field) as refusal:
        kind(**{field: value})
    assert repr(value) in str(refusal.value)


def test_a_network_that_shrinks_to_nothing_is_refused():
    with pytest.raises(UsageError, match="VALID"):
        ModelConfig(padding="VALID", widths=(8, 8, 8), depth=(4, 4, 4))


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean quick"):
        config.named("recipe", "quik", RECIPES)
    with pytest.raises(UsageError, match="did you mean reference"):
        config.named("network", "referenc", NETWORKS)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"epochs": 3}'])
def test_a_foreign_config_is_refused(text):
    with pytest.raises(UsageError):
        config.from_json(text)


def test_an_unknown_field_is_refused_by_name():
    values = json.loads(config.to_json(Config())) | {"epoch": 3}
    with pytest.raises(UsageError, match="did you mean epochs"):
        config.from_json(json.dumps(values))


def test_a_recipe_for_accelerators_stands_in_for_its_namesake_there_alone():
    assert [config.recipe_for("quick", there).recipe for there in (False, True)] == ["quick", "quick-gpu"]
    assert config.recipe_for("reader", True) == RECIPES["reader"]
    assert config.recipe_for("default-gpu", False) == RECIPES["default-gpu"]
    with pytest.raises(UsageError, match="did you mean quick"):
        config.recipe_for("quik", True)


def test_runs_that_differ_only_outside_the_compiled_program_share_one():
    quick = RECIPES["quick"]
    other = dataclasses.replace(quick, seed=7, data="mnist5k", patience=3, recipe="mine", epochs=9)
    assert quick.compiled_part() == other.compiled_part()
    assert quick.compiled_part() != dataclasses.replace(quick, batch_size=32).compiled_part()
