"""What arrays of digits mean, whatever file they came from: shapes, levels, ground, orientation, labels and parts."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitjax.base.errors import DigitjaxError
from digitjax.data import datasets, tfds
from digitjax.reading import predict, upright

GOOD = {"images": np.zeros((20, 28, 28), np.uint8), "labels": np.arange(20) % 10}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"labels": None}, "no images and labels"),
        ({"images": None}, "no images and labels"),
        ({"images": np.zeros((20, 28, 30), np.uint8)}, "30"),
        ({"images": np.zeros((20, 5, 5), np.uint8)}, "5, 5"),
        ({"images": np.full((20, 28, 28), 0.5, np.float32) * 3}, "float32 from 1.5"),
        ({"images": np.full((20, 28, 28), -1, np.int64)}, "from -1"),
        ({"images": np.full((20, 28, 28), np.nan)}, "float64"),
        ({"images": np.zeros((20, 28, 28, 2), np.uint8)}, "28, 28, 2"),
        ({"images": np.zeros((0, 28, 28), np.uint8), "labels": np.zeros(0, int)}, "empty"),
        ({"labels": np.arange(20)}, "0 to 19"),
        ({"labels": np.arange(20) - 1}, "-1"),
        ({"labels": np.arange(19) % 10}, "19"),
        ({"labels": np.linspace(0, 1, 20)}, "float64"),
        ({"labels": np.array([None] * 20)}, "npz"),
    ],
)
def test_a_bad_npz_is_refused_with_what_is_wrong(tmp_path, changes, complaint):
    arrays = {name: array for name, array in (GOOD | changes).items() if array is not None}
    np.savez(tmp_path / "digits.npz", **arrays)
    with pytest.raises(DigitjaxError, match=complaint):
        datasets.load(str(tmp_path / "digits.npz"))


@pytest.mark.parametrize("side", [8, 16, 20, 32])
@pytest.mark.parametrize("dark", [False, True])
def test_grey_pictures_of_another_size_are_scaled_as_mnists_were(few, tmp_path, side, dark):
    images = np.stack(
        [cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image in few.train.images[:90]]
    )
    np.savez(tmp_path / "a.npz", images=255 - images if dark else images, labels=few.train.labels[:90])
    found = datasets.load(str(tmp_path / "a.npz"))
    assert "another size" in found.note
    images = found.everything().images
    assert images.shape == (90, 28, 28)
    assert (images[:, 0] == 0).mean() > 0.9
    judged = predict.load().judge(images).digits
    assert np.mean(judged == found.everything().labels) > (0.5 if side == 8 else 0.9)


@pytest.mark.parametrize("how", upright.TURNS)
def test_a_set_that_does_not_stand_upright_is_put_upright_and_that_is_said(few, tmp_path, how):
    back = {
        "a quarter turn to the left": "a quarter turn to the right",
        "a quarter turn to the right": "a quarter turn to the left",
    }
    lying = np.ascontiguousarray(upright.TURNS[back.get(how, how)](few.train.images))
    np.savez(tmp_path / "a.npz", images=lying, labels=few.train.labels)
    np.savez(tmp_path / "b.npz", images=few.train.images, labels=few.train.labels)
    put_right, expected = upright.load(str(tmp_path / "a.npz")), datasets.load(str(tmp_path / "b.npz"))
    assert how in put_right.note
    assert upright.load(str(tmp_path / "b.npz")).note == ""
    assert sorted(map(bytes, put_right.everything().images)) == sorted(map(bytes, expected.everything().images))
    digits, note, _ = upright.scored(str(tmp_path / "a.npz"))
    assert how in note
    np.testing.assert_array_equal(digits.images, few.train.images)


def test_other_classes_than_digits_stand_as_they_are(few, tmp_path):
    shuffled = np.random.default_rng(0).permutation(few.train.labels)
    np.savez(tmp_path / "a.npz", images=few.train.images, labels=shuffled)
    assert upright.load(str(tmp_path / "a.npz")).note == ""


@given(st.integers(0, 1000))
def test_a_sorted_set_with_a_test_part_has_every_class_in_each_part_and_a_permuted_one_too(few, seed):
    order = np.argsort(few.train.labels, kind="stable")
    if seed:
        order = np.random.default_rng(seed).permutation(order)
    file = tfds.data_dir() / "sorted.npz"
    file.parent.mkdir(exist_ok=True)
    images, labels = few.train.images[order], few.train.labels[order]
    np.savez(file, x_train=images, y_train=labels, x_test=few.test.images, y_test=few.test.labels)
    found = datasets.load(str(file))
    assert set(found.train.labels) == set(found.validation.labels) == set(labels)
    np.testing.assert_array_equal(found.test.images, few.test.images)


@pytest.mark.parametrize("each", range(1, 9))
def test_a_few_pictures_a_class_can_be_trained_on_and_scored_whole(few, tmp_path, each):
    places = np.concatenate([np.flatnonzero(few.train.labels == digit)[:each] for digit in range(10)])
    np.savez(tmp_path / "few.npz", images=few.train.images[places], labels=few.train.labels[places])
    found = datasets.load(str(tmp_path / "few.npz"))
    assert min(len(part.labels) for part in (found.train, found.validation, found.test)) >= 1
    assert len(found.everything().labels) == 10 * each
    digits, note, name = datasets.scored(str(tmp_path / "few.npz"), found.checksum)
    assert (len(digits.labels), note) == (10 * each, "")
    assert f"{10 * each} of which this model was trained on" in name
    assert "trained on" not in datasets.scored(str(tmp_path / "few.npz"), "another")[2]


CHANGES = {
    "dark on bright": lambda images: 255 - images,
    "from 0 to 1,": lambda images: (images > 127) * np.uint8(1),
    "from 0 to 16": lambda images: images // 16,
}


@pytest.mark.parametrize(("told", "change"), CHANGES.items())
def test_a_set_in_another_ground_or_range_is_put_right_and_that_is_said(few, tmp_path, told, change):
    np.savez(tmp_path / "a.npz", images=change(few.train.images[:90]), labels=few.train.labels[:90])
    found = datasets.load(str(tmp_path / "a.npz"))
    assert told in found.note
    images = found.everything().images
    assert images.max() >= 238
    assert np.median(images) == 0
