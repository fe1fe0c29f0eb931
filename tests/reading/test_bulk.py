"""Every picture is answered once, from whatever it lies in, however often the work is killed, in the same memory."""

import contextlib
import gzip
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitjax.__main__ import main
from digitjax.base.errors import DigitjaxError, UsageError
from digitjax.data import inputs as where
from digitjax.reading import bulk
from digitjax.reading.predict import load, predictions

slow = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def images(few) -> np.ndarray:
    return few.train.images[:50]


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def idx(images: np.ndarray) -> bytes:
    return b"\0\0\x08\x03" + struct.pack(">iii", *images.shape) + images.tobytes()


@pytest.fixture(scope="module")
def stored(tmp_path_factory, images) -> dict[str, Path]:
    """The same pictures in everything that can hold them."""
    root = tmp_path_factory.mktemp("stored")
    flat = images.reshape(-1, 784)
    for name in ("folder/deep", "idx", "tables"):
        (root / name).mkdir(parents=True)
    for number, image in enumerate(images):
        (root / "folder" / ("deep/" if number > 30 else "") / f"{number:03d}.png").write_bytes(png(image))
    np.savez(root / "plain.npz", images=images, labels=np.zeros(50, np.int32))
    np.savez_compressed(root / "packed.npz", x_test=flat, y_test=np.zeros(50))
    (root / "idx/t10k-images-idx3-ubyte").write_bytes(idx(images[:20]))
    (root / "idx/train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images[20:])))
    (root / "idx/train-images-idx3-ubyte").write_bytes(idx(images[20:]))
    pictures = pa.array([{"bytes": png(image), "path": "a"} for image in images[:30]])
    pq.write_table(pa.table({"label": [1] * 30, "image": pictures}), root / "tables/0.parquet", row_group_size=7)
    rows = pa.FixedSizeListArray.from_arrays(pa.array(flat[30:].ravel()), 784)
    pq.write_table(pa.table({"pixels": rows}), root / "tables/1.parquet", row_group_size=9)
    names = ("folder", "plain.npz", "packed.npz", "idx", "tables", "tables/*.parquet")
    return {name: root / name for name in names}


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(bulk, "PART", 16)


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for part in sorted(out.glob("part-*")) for line in part.read_text().splitlines()]


@pytest.mark.parametrize("name", ["folder", "plain.npz", "packed.npz", "idx", "tables", "tables/*.parquet"])
@pytest.mark.parametrize("form", bulk.FORMATS)
def test_the_same_pictures_get_the_same_answers_from_wherever_they_lie(
    stored, weights, images, tmp_path, small_parts, name, form, capsys
):
    out = tmp_path / "out"
    command = ["predict", str(stored[name]), "--model", str(weights), "--out", str(out), "--format", form, "--json"]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out) == {"out": str(out), "parts": 4, "pictures": 50, "bad": 0}
    rows = lines(out) if form == "jsonl" else pq.read_table(sorted(out.glob("*.parquet"))).to_pylist()
    judged = predictions(load(str(weights)).judge(images))
    for row, expected in zip(rows, judged, strict=True):
        assert (row["digit"], row["verdict"]) == (expected.digit, expected.verdict)
        np.testing.assert_allclose(row["probabilities"], expected.probabilities, atol=1e-5)
    assert len({(row["file"], row.get("row")) for row in rows}) == 50


@given(st.lists(st.tuples(st.integers(0, 199), st.integers(0, 60)), min_size=1, max_size=6))
def test_any_range_is_read_as_it_stands_in_whatever_order(stored, images, ranges):
    inputs = where.inputs([str(stored[name]) for name in ("packed.npz", "idx", "tables", "folder")])
    every = np.concatenate([images] * 4)
    with where.Reader(inputs) as reader:
        for start, length in ranges:
            stop = min(start + length, 200)
            block = reader.read(start, stop)
            np.testing.assert_array_equal(block.images, every[start:stop])
            assert len(block.names) == stop - start


@pytest.mark.torture
@pytest.mark.parametrize("survived", range(4))
def test_what_is_killed_goes_on_to_the_same_bytes(stored, weights, tmp_path, small_parts, survived):
    inputs, predictor = where.inputs([str(stored["packed.npz"])]), load(str(weights))

    def work(out: Path, dies_at: int = 99) -> list[bulk.Part]:
        def engine(spans):
            for number, part in enumerate(bulk.here(predictor, inputs, "jsonl", spans)):
                if number == dies_at:
                    raise MemoryError
                yield part

        return list(bulk.write(out, inputs, "a", "jsonl", engine))

    whole = work(tmp_path / "whole")
    with pytest.raises(MemoryError):
        work(tmp_path / "out", survived)
    (tmp_path / "out" / ".1.part-000000000000-000000000016.jsonl").write_text("half")
    assert [part.start for part in work(tmp_path / "out")] == [part.start for part in whole][survived:]
    assert work(tmp_path / "out") == []
    read = {file.name: file.read_bytes() for file in (tmp_path / "whole").iterdir()}
    assert read == {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}


def test_bad_pictures_are_answered_by_their_errors_and_harm_no_other(weights, images, tmp_path, small_parts, capsys):
    pictures = [png(image) for image in images[:20]]
    pictures[3], pictures[17] = b"no picture", None
    table = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": pa.array(pictures, pa.binary())}), table)
    missing = tmp_path / "missing.png"
    out = tmp_path / "out"
    assert main(["predict", str(table), str(missing), "--model", str(weights), "--out", str(out), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["bad"] == 3
    rows = lines(out)
    assert [(row["file"], row.get("row")) for row in rows if "error" in row] == [
        (str(table), 3),
        (str(table), 17),
        (str(missing), None),
    ]
    expected = predictions(load(str(weights)).judge(images[:20]))
    assert all(row["digit"] == expected[row["row"]].digit for row in rows if "digit" in row)


def test_a_folder_keeps_the_answers_that_it_has(stored, weights, images, tmp_path, small_parts):
    source = tmp_path / "digits.npz"
    np.savez(source, images=images)
    out = tmp_path / "out"

    def work(model: str = "a", form: str = "jsonl", words: tuple[object, ...] = (source,)) -> list[bulk.Part]:
        inputs = where.inputs([str(word) for word in words])
        engine = partial(bulk.here, load(str(weights)), inputs, form)
        return list(bulk.write(out, inputs, model, form, engine))

    work()
    before = {file: file.read_bytes() for file in out.iterdir()}
    for changed, other in {
        "model": {"model": "b"},
        "format": {"form": "parquet"},
        "inputs": {"words": (source, stored["plain.npz"])},
    }.items():
        with pytest.raises(UsageError, match=f"other {changed}: .*--out"):
            work(**other)
    np.savez(source, images=images[::-1])
    with pytest.raises(UsageError, match="other inputs"):
        work()
    assert {file: file.read_bytes() for file in out.iterdir()} == before
    out = tmp_path
    with pytest.raises(UsageError, match="files of another kind"):
        work()
    assert not (tmp_path / "manifest.json").exists()


def test_two_processes_do_not_write_into_one_folder(stored, weights, tmp_path):
    inputs = where.inputs([str(stored["plain.npz"])])
    engine = partial(bulk.here, load(str(weights)), inputs, "jsonl")
    first = bulk.write(tmp_path, inputs, "a", "jsonl", engine)
    next(first)
    with pytest.raises(DigitjaxError, match="another process"):
        list(bulk.write(tmp_path, inputs, "a", "jsonl", engine))


def test_a_source_that_ends_early_says_where_and_keeps_what_was_read(weights, images, tmp_path, small_parts, capsys):
    source, out = tmp_path / "a-idx3-ubyte.gz", tmp_path / "out"
    source.write_bytes(gzip.compress(idx(images))[:-2000])
    assert main(["predict", str(source), "--model", str(weights), "--out", str(out)]) == 1
    assert "is damaged between its pictures" in capsys.readouterr().err.splitlines()[-1]
    kept = list(out.glob("part-*"))
    assert 0 < len(kept) < 4
    assert all(len(part.read_text().splitlines()) == 16 for part in kept)


def test_what_holds_no_pictures_is_refused_with_a_word_on_what_does(images, tmp_path):
    np.savez(tmp_path / "labels.npz", labels=np.zeros(9))
    (tmp_path / "text.npz").write_text("text")
    (tmp_path / "text.parquet").write_text("text")
    pq.write_table(pa.table({"label": [1, 2]}), tmp_path / "labels.parquet")
    (tmp_path / "wide-idx3-ubyte").write_bytes(idx(np.zeros((2, 32, 32), np.uint8)))
    np.savez(tmp_path / "none.npz", images=images[:0])
    np.savez(tmp_path / "spoilt.npz", images=images)
    content = (tmp_path / "spoilt.npz").read_bytes()
    (tmp_path / "spoilt.npz").write_bytes(content[:9000] + bytes([content[9000] ^ 1]) + content[9001:])
    (tmp_path / "short-idx3-ubyte").write_bytes(idx(images)[:-3000])
    for name, complaint in {
        "labels.npz": "no images among its arrays",
        "text.npz": "holds no images of 28 x 28",
        "text.parquet": r"is no \.parquet file",
        "labels.parquet": r"no images among its arrays \(label\)",
        "wide-idx3-ubyte": "holds no images of 28 x 28",
        "none.npz": "holds no pictures",
        "spoilt.npz": "does not have its checksum",
        "short-idx3-ubyte": "its header tells of 50 images",
        "missing.npz": "No such file",
    }.items():
        with pytest.raises(DigitjaxError, match=complaint):
            where.inputs([str(tmp_path / name)])


def test_options_that_do_not_go_together_are_refused(stored, tmp_path, capsys):
    for words, complaint in {
        "--engine ray": "belong to --out",
        "--out o --csv a.csv": "--csv and --show",
        "--out o --address here:1": "add --engine ray",
    }.items():
        assert main(["predict", str(stored["plain.npz"]), *words.split()]) == 2
        assert complaint in capsys.readouterr().err


# --- real processes


def many(file: Path, images: np.ndarray, count: int) -> Path:
    np.savez_compressed(file, images=np.resize(images, (count, 28, 28)))
    return file


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "digitjax", "predict", *map(str, words)]


def contents(out: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in out.glob("part-*")}


@pytest.fixture(scope="module")
def sixty_thousand(splits, weights, tmp_path_factory) -> tuple[Path, dict[str, bytes]]:
    """A file of 60,000 pictures, and the parts that one process writes of it undisturbed."""
    folder = tmp_path_factory.mktemp("many")
    source = many(folder / "many.npz", splits.train.images[:5000], 60_000)
    words = command(source, "--model", weights, "--out", folder / "whole")
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return source, contents(folder / "whole")


@pytest.mark.torture
@slow
def test_a_process_that_is_killed_or_interrupted_goes_on_with_nothing_lost_and_nothing_twice(
    sixty_thousand, weights, tmp_path
):
    source, whole = sixty_thousand
    assert sum(content.count(b"\n") for content in whole.values()) == 60_000
    out = tmp_path / "out"
    for parts, ending in ((2, signal.SIGKILL), (10, signal.SIGINT)):
        process = subprocess.Popen(
            command(source, "--model", weights, "--out", out), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        while len(contents(out)) < parts:
            assert process.poll() is None
            time.sleep(0.002)
        process.send_signal(ending)
        _, told = process.communicate(timeout=60)
        if ending == signal.SIGINT:
            assert process.returncode == 130, told
            assert told.splitlines()[-1].startswith("interrupted"), told
        kept = contents(out)
        assert parts <= len(kept) < 30
        assert kept.items() <= whole.items()
    again = subprocess.run(
        command(source, "--model", weights, "--out", out), capture_output=True, text=True, timeout=120
    )
    assert again.returncode == 0, again.stderr
    assert contents(out) == whole


@slow
def test_memory_does_not_grow_with_the_number_of_pictures(splits, weights, tmp_path):
    code = "import sys; from digitjax.__main__ import main; from experiments.bench.canonical import peak_mib; "
    code += "status = main(sys.argv[1:]); print(peak_mib()); sys.exit(status)"
    peaks = {}
    for count in (10_000, 40_000):
        source = many(tmp_path / f"{count}.npz", splits.train.images[:5000], count)
        words = ["predict", str(source), "--model", str(weights), "--out", str(tmp_path / str(count))]
        done = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=120, cwd=ROOT
        )
        assert done.returncode == 0, done.stderr
        peaks[count] = float(done.stdout.splitlines()[-1])
    # The images alone would be 22 MiB more.
    assert peaks[40_000] - peaks[10_000] < 12, peaks


OPEN = {"RAY_AUTH_MODE": "disabled"}
"""Else a token in the home of who tests decides whether the two sides of Ray trust each other."""


@contextlib.contextmanager
def ray_cluster():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listening.getsockname()[1]}"
    ray = [str(Path(sys.executable).with_name("ray"))]
    settings = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"} | OPEN
    head = ["start", "--head", "--block", "--num-cpus=2", f"--port={address.rpartition(':')[2]}"]
    head += ["--include-dashboard=false", "--node-ip-address=127.0.0.1", "--object-store-memory=200000000"]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen([*ray, *head], stdout=quiet, stderr=quiet, env=settings, start_new_session=True)
    try:
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # asked to end, it would wait for half a minute
        process.wait()


def actors() -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "cmdline").read_bytes().startswith(b"ray::MapWorker(MapBatches(_Worker))"):
                found.append(int(folder.name))
    return found


@slow
def test_ray_with_a_worker_killed_in_the_middle_writes_what_one_machine_writes(sixty_thousand, weights, tmp_path):
    source, whole = sixty_thousand
    out = tmp_path / "ray"
    with ray_cluster() as address:
        time.sleep(5)
        words = command(source, "--model", weights, "--out", out, "--engine", "ray", "--address", address)
        both = subprocess.PIPE
        process = subprocess.Popen(words, stderr=both, stdout=both, text=True, env=os.environ | OPEN)
        while not contents(out):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        victims = actors()
        assert victims
        os.kill(victims[0], signal.SIGKILL)
        assert len(contents(out)) < 30
        _, told = process.communicate(timeout=120)
        assert process.returncode == 0, told
    assert contents(out) == whole


@slow
def test_an_exported_model_answers_alike_on_a_ray_of_this_machine_whatever_other_was_here(stored, tmp_path):
    model = tmp_path / "model.stablehlo"
    assert main(["export", "--out", str(model)]) == 0
    # As a cluster that died leaves behind. Ray makes a token, which must not stay in the home of who tests.
    lost = os.environ | {"RAY_ADDRESS": "127.0.0.1:9", "HOME": str(tmp_path)}
    for out, words in {"here": (), "ray": ("--engine", "ray")}.items():
        told = command(stored["plain.npz"], "--model", model, "--out", tmp_path / out, *words)
        subprocess.run(told, env=lost, timeout=100, check=True, capture_output=True)
    assert contents(tmp_path / "ray") == contents(tmp_path / "here")


@slow
def test_a_ray_cluster_that_does_not_answer_is_named(stored, weights, tmp_path):
    words = ["--model", weights, "--out", tmp_path / "out", "--engine", "ray", "--address", "127.0.0.1:9"]
    done = subprocess.run(command(stored["plain.npz"], *words), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "no Ray cluster answers at 127.0.0.1:9" in done.stderr.splitlines()[-1], done.stderr


@pytest.mark.torture
@pytest.mark.parametrize("damage", [b"", b"{}\n"])
def test_a_part_that_the_disk_lost_is_written_again(stored, weights, tmp_path, small_parts, damage):
    """After a loss of power a file may be there, and empty."""
    inputs, predictor = where.inputs([str(stored["packed.npz"])]), load(str(weights))
    work = partial(bulk.write, tmp_path / "out", inputs, "a", "jsonl", partial(bulk.here, predictor, inputs, "jsonl"))
    list(work())
    part = sorted((tmp_path / "out").glob("part-*"))[1]
    before = part.read_bytes()
    part.write_bytes(damage)
    assert [one.start for one in work()] == [16]
    assert part.read_bytes() == before
    assert len(lines(tmp_path / "out")) == 50


@pytest.mark.parametrize("content", ["", '{"model": "a", ', "[]"])
def test_half_a_manifest_says_what_to_do(stored, tmp_path, content):
    inputs = where.inputs([str(stored["packed.npz"])])
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(DigitjaxError, match=r"manifest\.json is damaged: .*--out"):
        list(bulk.write(tmp_path, inputs, "a", "jsonl", lambda _: []))
