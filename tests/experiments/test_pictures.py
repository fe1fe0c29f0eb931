"""The yardstick: test pictures are a function of their seed, labelled truly, and nothing that training knows."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitjax.data.formats import Dataset
from digitjax.picture.pixels import read_picture
from experiments import pictures, reading
from experiments.pictures import GROUPS, NONDIGITS, NOT_A_DIGIT, corruptions, sample
from experiments.pictures import strings as text
from experiments.pictures.hands import HANDS
from experiments.pictures.paths import DIGITS, ICONS, LETTERS, SIGNS, strokes
from experiments.pictures.strokes import glyph, smooth

ROOT = Path(__file__).parent.parent.parent
FAMILIES = sorted(pictures.families())
TRAINED_ON = (
    "digitjax.network.augment",
    "digitjax.base.config",
    *(f"digitjax.generated.{name}" for name in ("fonts", "hands", "numbers", "outliers")),
)


_digits = pictures._digits.__wrapped__  # without its cache


@pytest.fixture(autouse=True)
def _strokes(monkeypatch, splits):
    """From wherever this machine has digits."""
    monkeypatch.setattr(pictures, "_digits", lambda split: getattr(splits, split))


def as_bytes(picture: pictures.Picture) -> bytes:
    return picture if isinstance(picture, bytes) else picture.tobytes()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_picture_is_readable_and_a_function_of_family_seed_and_place_alone(family):
    (first, label), (second, _) = sample(family, 2, seed=3)
    again, other = sample(family, 1, seed=3)[0], sample(family, 1, seed=4)[0]
    assert (as_bytes(again[0]), again[1]) == (as_bytes(first), label)
    assert as_bytes(first) not in (as_bytes(second), as_bytes(other[0]))
    pixels = read_picture(first)
    assert pixels.dtype == np.uint8
    if family.startswith("not_"):
        assert label == NOT_A_DIGIT
    elif family.startswith("string_"):
        assert re.fullmatch(r"\d+(\n\d+)*", str(label))
    else:
        assert label in range(10)
        assert np.ptp(pixels) > 10, "there is nothing on it"


def test_every_family_is_in_one_group():
    named = [family for group in GROUPS.values() for family in group]
    assert sorted(named) == FAMILIES
    assert all(GROUPS.values())
    assert {family for family in FAMILIES if family.startswith("not_")} == {f for g in NONDIGITS for f in GROUPS[g]}


def test_a_label_is_that_of_the_strokes(monkeypatch):
    """Each borrowed digit is filled with its label, and the family hands out what it was given."""
    labels = np.arange(50, dtype=np.int32) % 10
    marked = Dataset(np.broadcast_to(labels[:, None, None], (50, 28, 28)).astype(np.uint8), labels)
    monkeypatch.setattr(pictures, "_digits", lambda _: marked)
    monkeypatch.setattr(pictures, "families", lambda: {"plain": lambda _, subject: np.asarray(subject)})
    drawn = sample("plain", 40)
    assert all((subject == label).all() for subject, label in drawn)
    assert {subject.shape for subject, _ in drawn} == {(), (28, 28)}


def test_test_digits_are_used_only_when_asked_for(monkeypatch, splits):
    def all_of(label: int) -> Dataset:
        return Dataset(splits.validation.images[:5], np.full(5, label, np.int32))

    apart = splits._replace(train=all_of(1), validation=all_of(2), test=all_of(3))
    monkeypatch.setattr(pictures.datasets, "load", lambda _: apart)
    monkeypatch.setattr(pictures, "_digits", _digits)
    for family in ("c_shear", "string_scan"):
        assert {digit for _, label in sample(family, 5) for digit in str(label)} <= {"2", "\n"}
        assert {digit for _, label in sample(family, 5, split="test") for digit in str(label)} <= {"3", "\n"}


@pytest.mark.parametrize("family", GROUPS["strings"])
def test_a_string_has_the_digits_that_were_drawn_in_their_order(family, monkeypatch):
    drawn: list[int | str] = []
    monkeypatch.setattr(text, "glyph", lambda rng, subject, *rest: drawn.append(subject) or glyph(rng, subject, *rest))
    labels = [str(label) for _, label in sample(family, 2, seed=5, pen_paths=1)]
    digit_of = {path: digit for digit, paths in HANDS.values() for path in paths}
    found = "".join(str(digit_of.get(subject, subject)) for subject in drawn)
    assert found == "".join(labels).replace("\n", "")


def test_all_corruptions_of_mnist_c_are_there():
    kinds = """shot_noise impulse_noise glass_blur motion_blur shear scale rotate brightness translate stripe fog
        spatter dotted_line zigzag canny_edges"""
    assert {f"c_{kind}" for kind in kinds.split()} == set(GROUPS["corruptions"])


@pytest.mark.parametrize("corruption", corruptions.CORRUPTIONS, ids=lambda corruption: corruption.__name__)
def test_a_corruption_keeps_shape_and_dtype_and_changes_the_digit(corruption, splits):
    for subject in (splits.validation.images[0], 5):
        rng = np.random.default_rng(0)
        corrupted = corruptions.corrupted(rng, subject, corruption)
        clean = corruptions.corrupted(np.random.default_rng(0), subject, lambda _, digit: digit)
        assert corrupted.shape == (28, 28)
        assert corrupted.dtype == np.uint8
        assert (corrupted != clean).any()


@given(st.integers(0, 99), st.sampled_from([0.02, 0.05, 0.09]))
def test_a_thinner_pen_breaks_no_stroke(splits, which, pen):
    """The pieces of ink that are worth the name stay as many as in the digit's own pen, and hold less ink."""
    digit = splits.validation.images[which]

    def pieces(width: float | None) -> tuple[int, float]:
        coverage = np.pad(glyph(np.random.default_rng(0), digit, 120, width), 1)
        _, _, stats, _ = cv2.connectedComponentsWithStats((coverage > 0.3).astype(np.uint8))
        extent = stats[1:, cv2.CC_STAT_WIDTH : cv2.CC_STAT_HEIGHT + 1].max(1)
        return int((extent > 25).sum()), float(coverage.sum())

    (thin, little), (_, much), (usual, _) = pieces(pen), pieces(1.2 * pen), pieces(None)
    assert thin <= usual
    assert little < much


@pytest.mark.parametrize("path", [*LETTERS, *SIGNS, *ICONS, *(way for ways in DIGITS.values() for way in ways),
                                  *(way for _, ways in HANDS.values() for way in ways)])  # fmt: skip
def test_a_curve_goes_through_the_points_of_its_stroke(path):
    for stroke in strokes(path):
        curve = smooth(stroke)
        apart = np.linalg.norm(np.array(stroke)[:, None] - curve, axis=2).min(1)
        assert apart.max() < 1e-9
        assert np.linalg.norm(np.diff(curve, axis=0), axis=1).max() < 0.2


# --- Neither code nor parameters are shared with training


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).glob("*.py"))


def statements(file: Path) -> set[str]:
    """Whatever a file says at some length, free of layout."""
    nodes = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.stmt | ast.expr)]
    plain = (ast.Import, ast.ImportFrom)
    return {said for node in nodes if not isinstance(node, plain) and len(said := ast.unparse(node)) > 50}


@pytest.mark.parametrize("file", modules("experiments/pictures"), ids=lambda file: file.name)
def test_pictures_and_training_say_nothing_alike(file):
    training = set().union(*(statements(ROOT / f"{name.replace('.', '/')}.py") for name in TRAINED_ON))
    assert not statements(file) & training


def test_drawing_pictures_loads_nothing_that_training_changes_pictures_by():
    code = f"import sys, experiments.pictures; print(*sys.modules.keys() & set({TRAINED_ON!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not done.stdout.split()


@pytest.mark.parametrize("name", TRAINED_ON)
def test_training_knows_nothing_of_the_test_pictures(name):
    said = (ROOT / f"{name.replace('.', '/')}.py").read_text()
    assert not re.search(r"(from|import) experiments|experiments[./]pictures", said)


def test_the_table_counts_right_digits_whatever_the_verdict_and_refused_non_digits():
    rows = [
        {"kind": "digits", "group": "photos", "family": "a", "pictures": 10, "right": 0.5, "digit": 0.2, "bare": 0.1},
        {"kind": "digits", "group": "photos", "family": "b", "pictures": 30, "right": 1.0, "digit": 0.4, "bare": 0.1},
    ]
    assert "| photos | 40 | 75.0 | 10.0 | 30.0 | a: 50.0 |" in reading.tables(rows)
