"""Non-digits follow the digits, carry no class, and pull the network to say that it does not know."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitjax.data.datasets import Dataset
from digitjax.generated import outliers
from digitjax.training import metrics


def test_the_digits_stay_in_front_and_the_share_is_kept(few):
    joined = outliers.joined(few.train, 0.25, seed=0)
    count = len(few.train.labels)
    assert len(joined.labels) == count + count // 4
    np.testing.assert_array_equal(joined.images[:count], few.train.images)
    np.testing.assert_array_equal(joined.labels[:count], few.train.labels)
    assert (joined.labels[count:] == outliers.NO_CLASS).all()


def test_a_seed_gives_its_non_digits_and_nearly_no_two_are_alike(few):
    first, again, other = (outliers.joined(few.train, 1.0, seed=seed).images[256:] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any((1, 2)).mean() > 0.95
    assert len(np.unique(first, axis=0)) > 0.95 * len(first)


@pytest.mark.parametrize("label", range(10))
def test_digits_of_one_class_are_enough_to_make_non_digits(few, label):
    own = few.train.take(np.flatnonzero(few.train.labels == label))
    assert len(outliers.joined(own, 1.0, seed=0).labels) == 2 * len(own.labels)


def test_no_share_is_the_data_set_itself(few):
    assert outliers.joined(few.train, 0.0, seed=0) is few.train


@given(st.integers(0, 2**31), st.floats(0, 0.5))
def test_the_loss_of_no_class_is_least_where_all_classes_are_equal(seed, smoothing):
    logits = jax.random.normal(jax.random.key(seed), (4, 10))
    labels = jnp.array([-1, -1, 3, 0], jnp.int32)
    losses = metrics.cross_entropy(logits, labels, smoothing)
    level = metrics.cross_entropy(jnp.zeros((4, 10)), labels, smoothing)
    assert (losses[:2] > level[:2]).all()
    np.testing.assert_allclose(level, np.log(10), rtol=1e-5)
    np.testing.assert_allclose(losses[2:], metrics.cross_entropy(logits[2:], labels[2:], smoothing), rtol=1e-6)


def test_a_fold_of_the_digits_is_not_kept_as_it_was(few):
    """Collages are made of digits, and are none of them."""
    digits = Dataset(few.train.images, few.train.labels)
    made = outliers.joined(digits, 1.0, seed=3).images[256:]
    known = {image.tobytes() for image in digits.images}
    assert not any(image.tobytes() in known for image in made)
