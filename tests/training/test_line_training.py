"""The line network's loss is that of the paper, its step learns, and a training goes on where it stopped."""

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitjax.base.errors import DigitjaxError
from digitjax.data.datasets import Splits
from digitjax.generated import numbers
from digitjax.network import model
from digitjax.reading.strips import aligned, elected, log_probability, voted
from digitjax.training import lines


def said(way: tuple[int, ...]) -> tuple[int, ...]:
    """What a way through the frames says, told once more: groups, without blanks."""
    return tuple(key for key, _ in itertools.groupby(way) if key != model.BLANK)


@pytest.mark.parametrize("digits", [(), (3,), (3, 3), (1, 2), (1, 2, 1)])
def test_the_loss_is_the_sum_over_all_ways(digits):
    """Over every way through five frames, of three digits and the blank; so are its gradient and `log_probability`."""
    logits = np.full((5, 11), -1e9, np.float32)
    known = [1, 2, 3, model.BLANK]
    logits[:, known] = np.random.default_rng(0).normal(size=(5, 4))
    log_shares = np.asarray(jax.nn.log_softmax(logits), np.float64)

    def chance(log_shares: np.ndarray) -> float:
        ways = [way for way in itertools.product(known, repeat=5) if said(way) == digits]
        return float(sum(np.exp(sum(log_shares[frame, at] for frame, at in enumerate(way))) for way in ways))

    labels = np.zeros((1, 4), np.int32)
    labels[0, : len(digits)] = digits
    length = np.array([len(digits)], np.int32)

    def ours(logits: jax.Array) -> jax.Array:
        return lines.loss(logits[None], labels, length)[0]

    assert float(jax.jit(ours)(jnp.asarray(logits))) == pytest.approx(-np.log(chance(log_shares)), rel=1e-4)
    found = log_probability(log_shares.astype(np.float32), np.array(digits, np.int32))
    assert found == pytest.approx(np.log(chance(log_shares)), rel=1e-4)
    # The gradient by a logit is its share less how often it is on the ways that say these digits.
    often = np.zeros((5, 11))
    for way in itertools.product(known, repeat=5):
        if said(way) == digits:
            often[np.arange(5), way] += np.exp(sum(log_shares[frame, at] for frame, at in enumerate(way)))
    expected = np.exp(log_shares) - often / chance(log_shares)
    np.testing.assert_allclose(jax.jit(jax.grad(ours))(jnp.asarray(logits)), expected, atol=1e-4)


def test_of_all_that_may_be_said_the_chances_add_up_to_one():
    log_shares = np.full((4, 11), -1e9, np.float32)
    log_shares[:, [0, 1, model.BLANK]] = np.random.default_rng(1).normal(size=(4, 3))
    log_shares = np.asarray(jax.nn.log_softmax(log_shares))
    every = [digits for count in range(5) for digits in itertools.product((0, 1), repeat=count)]
    total = sum(np.exp(log_probability(log_shares, np.array(digits, np.int32))) for digits in every)
    assert total == pytest.approx(1, abs=1e-5)
    best = voted([log_shares], 1.0)
    assert best.confidence <= 1
    assert tuple(best.digits) in every


@given(st.integers(0, 2**32 - 1))
def test_views_of_a_line_elect_one_answer_in_any_order_and_the_ink_alone_does_not_outvote_them(seed):
    """One view that would have none of what the others say takes nothing from them."""
    rng, steps = np.random.default_rng(seed), 6

    def view(digits, sure):
        path = np.full(steps, model.BLANK)
        path[1 : 1 + 2 * len(digits) : 2] = digits
        log_shares = rng.normal(0, 0.3, (steps, 11))
        log_shares[np.arange(steps), path] += sure
        return np.asarray(jax.nn.log_softmax(log_shares), np.float32)

    right, wrong = (4, 7), (9,)
    views = [view(right, 6), view(right, 6), view(wrong, 30)]
    for order in itertools.permutations(views):
        assert tuple(voted(order, 1.0).digits) == right
    for of_ink in ([view(wrong, 30)], []):
        digits, chance = elected(views[:2], of_ink)
        assert tuple(digits) == right
        assert 0 < chance <= 1


def test_digits_are_found_where_the_likeliest_way_says_them():
    way = [model.BLANK, 3, 3, model.BLANK, 3, 1, model.BLANK]
    log_shares = np.full((7, 11), -6.0, np.float32)
    log_shares[np.arange(7), way] = -0.01
    log_shares[2, 3] = -0.001
    sure, places = aligned(log_shares, np.array([3, 3, 1], np.int32))
    np.testing.assert_array_equal(places[:, ::2] / model.FRAME, [[1, 3], [4, 5], [5, 6]])
    assert places[0, 1] == 2.5 * model.FRAME
    np.testing.assert_allclose(sure, np.exp([-0.001, -0.01, -0.01]), rtol=1e-5)


@pytest.fixture(scope="module")
def made(splits: Splits) -> numbers.Numbers:
    return numbers.numbers(numbers.glyphs(splits.train), range(24), 0)


@pytest.fixture(autouse=True)
def _one_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one width, where training would compile five."""
    monkeypatch.setattr(lines, "WIDTHS", (numbers.WIDTH,))


CONFIG = lines.LineConfig(lines=24, steps=6, batch_size=8)


def test_interrupted_and_resumed_it_ends_as_if_it_were_not(made, tmp_path):
    once = lines.fit(CONFIG, made, made, tmp_path / "once.npz", every=2)

    class Stop(Exception):
        pass

    def stop(row) -> None:
        if row["step"] == 4:
            raise Stop

    with pytest.raises(Stop):
        lines.fit(CONFIG, made, made, tmp_path / "twice.npz", stop, every=2)
    rows = []
    twice = lines.fit(CONFIG, made, made, tmp_path / "twice.npz", rows.append, every=2)
    assert [row["step"] for row in rows] == [6]
    jax.tree.map(np.testing.assert_array_equal, once, twice)


def test_a_training_that_goes_on_begins_with_the_weights_that_it_is_given_and_leaves_them_as_they_are(made):
    given = lines.create_state(CONFIG).average
    before = jax.tree.map(np.array, given)
    state = lines.create_state(replace(CONFIG, seed=1), given)
    begun = {"params": state.params, "batch_stats": state.batch_stats}
    for mine in (begun, state.average):
        jax.tree.map(np.testing.assert_array_equal, mine, given)
    few = np.arange(8, dtype=np.int32)
    # A step takes the memory of its state.
    lines.train_step(
        CONFIG, state, numbers.strips(made, few, np.random.default_rng(0)), made.labels[few], made.lengths[few]
    )
    jax.tree.map(np.testing.assert_array_equal, before, given)


def test_a_file_of_another_kind_is_refused_and_kept(made, tmp_path):
    file = tmp_path / "state.npz"
    np.savez(file, np.zeros(3))
    before = file.read_bytes()
    with pytest.raises(DigitjaxError, match=r"state\.npz"):
        lines.fit(CONFIG, made, made, file)
    assert file.read_bytes() == before


def test_a_strip_reads_the_same_whatever_paper_lies_behind_it(made):
    """But for the last frames, which see that it goes on."""
    variables = model.init_lines(jax.random.key(0))
    strips = numbers.strips(made, np.arange(2, dtype=np.int32), np.random.default_rng(0))[:, :, :160]
    wider = np.pad(strips, ((0, 0), (0, 0), (0, 96)))
    logits = jax.jit(model.line_logits)
    alone, among = (np.asarray(logits(variables, given)) for given in (strips, wider))
    np.testing.assert_allclose(alone[:, :28], among[:, :28], atol=1e-4)
    one = np.asarray(logits(variables, strips[:1]))
    np.testing.assert_allclose(one, alone[:1], atol=1e-5)


def test_the_loss_falls(made):
    config, draw = lines.LineConfig(steps=40, batch_size=24), np.random.default_rng(0)
    state = lines.create_state(config)
    strips = numbers.strips(made, np.arange(24, dtype=np.int32), draw)
    values = []
    for _ in range(25):
        state, value = lines.train_step(config, state, strips, made.labels, made.lengths)
        values.append(float(value))
    assert np.mean(values[-3:]) < 0.5 * values[0]
