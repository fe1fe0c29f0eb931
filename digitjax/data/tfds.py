"""Data sets through TFDS without TensorFlow: prepared once, then kept as arrays beside TFDS's records."""

import contextlib
import fcntl
import gzip
import hashlib
import importlib.util
import io
import os
import shutil
import threading
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from digitjax.base.errors import DigitjaxError
from digitjax.data import sources
from digitjax.data.formats import Dataset, Source, checked
from digitjax.data.sources import IDX_FILES, from_idx, idx_array

TFDS_NAMES = ("mnist", "fashion_mnist", "kmnist", "emnist/digits")
LOCAL_MNIST = "DIGITJAX_MNIST_DIR"
MNIST_CHECKSUM = "bab833be44432887b8367c256dc3f6f37f73632c1eabcb1cbc894e04f779a312"
"""Of its arrays, in the order of its files (see `Source.checksum`)."""

_SIZES = dict.fromkeys(TFDS_NAMES, (60_000, 10_000)) | {"emnist/digits": (240_000, 40_000)}
_PROBE_SECONDS = 4
# The checksums that TFDS knows, here too because a machine without TFDS checks its files as well.
_MNIST_SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


class OfflineError(DigitjaxError):
    """The network, or what reads from it, is not there."""

    def __init__(self, name: str, cause: str) -> None:
        self.cause = cause
        hint = f", or set {LOCAL_MNIST} to a folder with its four IDX files (.gz)" if name == "mnist" else ""
        super().__init__(f"{name} cannot be had: {cause}. Go online once{hint}, or use --data mnist5k")


def data_dir() -> Path:
    """Where TFDS keeps prepared data: its own default, or the environment's TFDS_DATA_DIR."""
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def arrays_file(name: str) -> Path:
    """The arrays of a prepared TFDS data set, kept beside its records."""
    return data_dir() / f"digitjax_{name.replace('/', '_')}" / "1.0.0" / "arrays.npz"


def from_tfds(name: str) -> Source:
    local = Path(os.environ[LOCAL_MNIST]) if name == "mnist" and os.environ.get(LOCAL_MNIST) else None
    if local and not any((local / known).exists() for known in _MNIST_SHA256):
        return _in_another_form(local)
    if local:
        _verify_mnist(local)
    file = arrays_file(name)
    if not file.exists():
        if importlib.util.find_spec("tensorflow_datasets"):
            _prepare(name, file, local)
        elif local:
            # A minimal GPU machine has no TFDS, and needs none for files that it has and that were verified.
            return from_idx(local)
        else:
            raise OfflineError(name, "the package tensorflow-datasets is not installed")
    return _from_arrays(name, file)


def _in_another_form(place: Path) -> Source:
    """MNIST as somebody packed it anew, in any form that `sources.read` takes: it is known by its arrays."""
    wanted = f"name a folder with MNIST's four .gz files, or MNIST in a form that --data takes, by {LOCAL_MNIST}"
    if not place.exists():
        raise DigitjaxError(f"{LOCAL_MNIST} is {place}, which is not there: {wanted}")
    try:
        found = sources.read(place)
    except DigitjaxError as error:
        raise DigitjaxError(f"{LOCAL_MNIST} is {place}, which holds no MNIST ({error}): {wanted}") from error
    if found.checksum != MNIST_CHECKSUM:
        raise DigitjaxError(f"{LOCAL_MNIST} is {place}, which holds other digits, or in another order: {wanted}")
    return found


def _verify_mnist(folder: Path) -> None:
    for name, expected in _MNIST_SHA256.items():
        file = folder / name
        if not file.is_file():
            raise DigitjaxError(f"{LOCAL_MNIST} is {folder}, which lacks {name}: put the four .gz files of MNIST there")
        found = hashlib.sha256(file.read_bytes()).hexdigest()
        if found != expected:
            raise DigitjaxError(f"{file} is not MNIST's: its SHA-256 is {found}, not {expected}: fetch it again")


def _from_arrays(name: str, file: Path) -> Source:
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            parts = [checked(name, arrays[f"{part}_images"], arrays[f"{part}_labels"]) for part in IDX_FILES]
            expected = str(arrays["checksum"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DigitjaxError(f"{file} is damaged ({error}): delete it and run again") from error
    source = Source.of(parts[0], parts[1])
    if source.checksum != expected:
        found = f"its checksum is {source.checksum}, not {expected}"
        raise DigitjaxError(f"{file} was altered: {found}: delete it and run again")
    return source


def _prepare(name: str, file: Path, local: Path | None) -> None:
    """Lets TFDS prepare its records, once, and keeps their arrays beside them; interrupted, it starts over."""
    import requests
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
    from tensorflow_datasets.core.download.util import DownloadError

    tfds.disable_progress_bar()
    urls: Mapping[str, Any] = tfds.builder_cls(name.split("/")[0]).url_infos or {}
    file.parent.parent.mkdir(parents=True, exist_ok=True)
    with _only_one_process(file.parent.parent):
        for leftover in file.parent.parent.glob("*incomplete*"):
            shutil.rmtree(leftover, ignore_errors=True)
        builder = _builder(tfds, name, urls)
        if not builder.data_path.exists() and not local:
            _probe(name, next(iter(urls)))
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints, and our stdout is the command's answer.
                builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=local))
        except NonMatchingChecksumError as error:
            raise DigitjaxError(f"a downloaded file of {name} is not what TFDS expects: {error}") from error
        except (requests.RequestException, DownloadError) as error:
            raise OfflineError(name, f"the download broke off ({type(error).__name__})") from error
        parts = [_records(builder, part) for part in IDX_FILES]
        sizes = tuple(len(part.labels) for part in parts)
        if sizes != _SIZES[name]:
            raise DigitjaxError(f"{name} has {sizes} images, not {_SIZES[name]}: delete {file.parent} and run again")
        arrays = {
            f"{name}_{kind}": getattr(part, kind) for name, part in zip(IDX_FILES, parts) for kind in part._fields
        }
        written = file.with_suffix(f".{os.getpid()}.tmp")
        with written.open("wb") as stream:
            np.savez(stream, checksum=Source.of(parts[0], parts[1]).checksum, **arrays)
        written.replace(file)


def _builder(tfds: Any, name: str, known_urls: Mapping[str, Any]) -> Any:
    """A builder of ours: the stock one prepares through TensorFlow, and forgets the order of the images."""
    tensor = tfds.features.Tensor(shape=(28, 28), dtype=np.uint8)
    features = {"index": np.int64, "image": tensor, "label": tfds.features.ClassLabel(num_classes=10)}

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # pyright: ignore
        VERSION = tfds.core.Version("1.0.0")
        # TFDS asks a builder for the checksums beside its file: ours are those of the stock builder.
        url_infos = known_urls

        def _info(self) -> Any:
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, manager: Any) -> Any:
            paths = manager.download({info.filename: url for url, info in self.url_infos.items()})
            return {part: self._generate_examples(paths, part) for part in IDX_FILES}

        def _generate_examples(self, paths: Any, part: str) -> Any:
            images, labels = (_packed(name, paths, file) for file in IDX_FILES[part])
            for index, (image, label) in enumerate(zip(images, labels)):
                yield index, {"index": index, "image": image, "label": int(label)}

    # TFDS reads a builder's name from its class.
    Builder.name = f"digitjax_{name.replace('/', '_')}"
    return Builder(data_dir=data_dir(), file_format="array_record")


def _packed(name: str, paths: Mapping[str, Any], file: str) -> np.ndarray:
    """One IDX array out of what TFDS fetched: gzipped files, or for EMNIST one zip of them."""
    if name != "emnist/digits":
        return idx_array(gzip.decompress(paths[f"{file}.gz"].read_bytes()))
    member = "gzip/emnist-digits-" + file.replace("t10k", "test") + ".gz"
    with zipfile.ZipFile(paths["gzip.zip"]) as archive:
        array = idx_array(gzip.decompress(archive.read(member)))
    # EMNIST's images lie on their side.
    return array.transpose(0, 2, 1) if array.ndim == 3 else array


def _records(builder: Any, part: str) -> Dataset:
    """All records in the order of their index; TFDS itself returns them shuffled."""
    source = builder.as_data_source(part)
    records = source.__getitems__(range(len(source)))
    order = np.argsort([record["index"] for record in records])
    images = np.stack([record["image"] for record in records])[order]
    labels = np.array([record["label"] for record in records], np.int32)[order]
    return checked(builder.name, images, labels)


def _probe(name: str, url: str) -> None:
    """Asks for one byte of the data within seconds: without a network TFDS would try for minutes."""
    import requests

    failure: list[str] = ["no answer"]

    def ask() -> None:
        try:
            requests.get(url, stream=True, timeout=_PROBE_SECONDS).close()
            failure.clear()
        except requests.RequestException as error:
            failure[:] = [type(error).__name__]

    # A thread, since the time-out of requests does not cover the look-up of the host's name.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PROBE_SECONDS + 1)
    if failure:
        raise OfflineError(name, f"no network ({failure[0]})")


@contextlib.contextmanager
def _only_one_process(folder: Path) -> Iterator[None]:
    """Two runs that start together prepare once; the lock goes with its process, however that ends."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
