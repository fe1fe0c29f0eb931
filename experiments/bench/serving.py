"""How fast is the service beside FastAPI, LitServe and its own no-op route? One core serves, the other asks.

    make bench-setup            the peers, in an environment of their own (.venv-peers)
    make bench-serve            about 20 minutes on two cores that do nothing else
    python -m experiments.bench.serving --rounds 1 --quick

All sides serve `reference_same`, since each of them can compute it. They take turns, and each has a fresh process.
"""

import argparse
import contextlib
import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import jax
import numpy as np

from digitjax.base import device
from digitjax.base.config import NETWORKS, Config
from digitjax.data import datasets
from digitjax.network import model
from digitjax.reading import artifact, export, trust
from experiments.bench import page
from experiments.bench.__main__ import PEERS, ROOT, machine
from experiments.bench.load import measure, request
from experiments.scoreboard import RESULTS, fill_readme
from experiments.tables import median, middle, table

PEER_SIDES = (
    "FastAPI, same jitted model",
    "FastAPI, ONNX Runtime",
    "LitServe, same jitted model",
    "FastAPI, Keras predict",
)
USERS, LOAD = 1_000_000, 0.5
"""Who ask once a minute each, and how busy a core should be."""
Rows = dict[str, list[dict[str, float]]]


def prepare(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Writes `reference_same`, untrained, in each side's form."""
    config = Config("bench", model=NETWORKS["reference_same"])
    variables = model.init(config.model, jax.random.key(0))
    logits, embedding = (
        np.asarray(part) for part in model.logits_and_embedding(config.model, variables, images[:2000])
    )
    learnt = trust.learn(images[:2000], logits, embedding, labels[:2000])
    artifact.write(folder / "model.npz", artifact.Artifact(config.model, variables, learnt, {}))
    layers = variables["params"]
    named: Any = {f"{layer}/{name}": np.asarray(leaf) for layer in layers for name, leaf in layers[layer].items()}
    np.savez(folder / "weights.npz", **named)
    (folder / "weights.onnx").write_bytes(export.onnx_model(config.model, variables).SerializeToString())
    compute = jax.jit(lambda image: model.logits(config.model, variables, image))
    exported = jax.export.export(compute)(jax.ShapeDtypeStruct((1, 28, 28), np.uint8))
    (folder / "jax_export.bin").write_bytes(exported.serialize())


@contextlib.contextmanager
def serving(command: list[str], cores: str, settings: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
    """A server on some cores; its process id, its port and the seconds until it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {f"DIGITJAX_{name.upper()}": str(value) for name, value in (settings or {}).items()}
    environment |= {"DIGITJAX_PORT": str(port), "PYTHONPATH": str(ROOT)}
    words = ["taskset", "--cpu-list", cores, *(word.replace("PORT", str(port)) for word in command)]
    started = time.perf_counter()
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(words, env=environment, cwd=ROOT, stdout=quiet, stderr=quiet, start_new_session=True)
    try:
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.perf_counter() > started + 120:
                raise SystemExit(f"{' '.join(words[3:])} does not start: is everything installed (make bench-setup)?")
            time.sleep(0.02)
        yield {"pid": process.pid, "port": port, "ready_seconds": time.perf_counter() - started}
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


def resident_mib(pid: int) -> float:
    return float(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) / 1024


class Bench:
    def __init__(self, folder: Path, rounds: int, seconds: float):
        self.folder, self.rounds, self.seconds = folder, rounds, seconds
        images = datasets.load("mnist5k").everything()
        prepare(folder, images.images, images.labels)
        self.bodies = [json.dumps({"image": image.ravel().tolist()}).encode() for image in images.images[:64]]
        self.files = [cv2.imencode(".png", image)[1].tobytes() for image in images.images[:64]]
        drawing = cv2.resize(images.images[0][4:24, 4:24], (100, 100))
        photo = 255 - cv2.resize(np.pad(images.images[1], 8), (1000, 1000), interpolation=cv2.INTER_CUBIC)
        self.pictures = {
            "a PNG in MNIST's form": self.files[0],
            "a drawing of 100 x 100": cv2.imencode(".png", drawing)[1].tobytes(),
            "a page of 1000 x 1000": cv2.imencode(".jpg", photo)[1].tobytes(),
        }

    def ours(self, cores: str = "0", **settings: Any) -> contextlib.AbstractContextManager[dict[str, Any]]:
        return serving([sys.executable, "-m", "serve"], cores, {"model": self.folder / "model.npz", **settings})

    def ask(self, port: int, clients: int, path: str = "predict", bodies: Any = None, kind: str = "application/json"):
        """What the clients measured, from the other core."""
        os.sched_setaffinity(0, {os.cpu_count() - 1})  # pyright: ignore
        url = f"http://127.0.0.1:{port}/{path}"
        return measure(url, [request(url, body, kind) for body in bodies or self.bodies], clients, self.seconds)

    def run(self) -> dict[str, Rows]:
        found: dict[str, Rows] = {"sides": {}, "pictures": {}, "page": {}, "settings": {}, "start": {}}

        def note(part: str, name: str, row: dict[str, float]) -> None:
            found[part].setdefault(name, []).append(row)
            print(f"  {name}: " + ", ".join(f"{key} {value:.4g}" for key, value in row.items()), file=sys.stderr)

        for _ in range(self.rounds):
            with tempfile.TemporaryDirectory() as empty, self.ours() as server:
                note("start", "a filled cache", {"seconds": server["ready_seconds"]})
                for clients in (1, 64):
                    for path, name in {"predict": "digitjax", "no-op": "its no-op"}.items():
                        note("sides", f"{name}, JSON, {clients}", self.ask(server["port"], clients, path))
                for path, name in {"predict": "digitjax", "no-op": "its no-op"}.items():
                    row = self.ask(server["port"], 64, path, self.files, "image/png")
                    note("sides", f"{name}, PNG, 64", row)
                for name, picture in self.pictures.items():
                    row = self.ask(server["port"], 1, bodies=[picture], kind="image/png")
                    note("pictures", name, row)
                if page.CHROMIUM:
                    note("page", "a stroke", page.measure(f"http://127.0.0.1:{server['port']}"))
                note("start", "memory", {"mib": resident_mib(server["pid"])})
                os.environ["XDG_CACHE_HOME"] = empty
                with self.ours() as cold:
                    note("start", "an empty cache", {"seconds": cold["ready_seconds"]})
                del os.environ["XDG_CACHE_HOME"]
            for name, settings in {"logs and metrics off": dict(access_log=0, metrics=0), "both on": {}}.items():
                with self.ours(**settings) as server:
                    note("settings", name, self.ask(server["port"], 64))
            for workers in (1, 2):
                with self.ours("0,1", workers=workers) as server:
                    time.sleep(3)  # until both are ready
                    note("settings", f"{workers} on two cores", self.ask(server["port"], 64))
            for side in PEER_SIDES if PEERS.exists() else ():
                script = f"experiments/bench/{'litserve' if side.startswith('LitServe') else 'serving'}_peer.py"
                with serving([str(PEERS), script, side, "PORT", str(self.folder)], "0") as server:
                    for clients in (1, 64):
                        note("sides", f"{side}, JSON, {clients}", self.ask(server["port"], clients))
        return found

    def soak(self, minutes: float) -> dict[str, float]:
        """Requests of all kinds for some minutes: how many, how many failed, and how far memory grew."""
        bodies = [(self.bodies, "application/json"), *(([one], "image/png") for one in self.pictures.values())]
        asked = failures = 0.0
        with self.ours(access_log=0) as server:
            began, sizes = time.perf_counter(), []
            while time.perf_counter() < began + 60 * minutes:
                for body, kind in bodies:
                    row = self.ask(server["port"], 16, bodies=body, kind=kind)
                    asked += row["requests_per_second"] * self.seconds
                    failures += row["failures"]
                sizes.append(resident_mib(server["pid"]))
        return {"requests": asked, "failures": failures, "first_mib": sizes[0], "last_mib": sizes[-1]}


def as_text(found: Mapping[str, Any]) -> str:
    sides = found["sides"]

    def rate(name: str) -> float:
        return median(sides[name], "requests_per_second")

    rows = []
    for name, side in sides.items():
        form = "PNG" if "PNG" in name else "JSON"
        clients = name.rpartition(" ")[2]
        ours = rate(f"digitjax, {form}, {clients}")
        rows.append(
            (name.rsplit(",", 2)[0], form, clients, middle(side, "requests_per_second"))
            + (middle(side, "p50_ms", 2), middle(side, "p99_ms", 2), f"{ours / rate(name):.2f}")
        )
    texts = [table("side | body | clients | requests/s | p50, ms | p99, ms | digitjax's ratio", rows)]
    pictures = [
        (name, middle(side, "p50_ms", 2), middle(side, "p99_ms", 2)) for name, side in found["pictures"].items()
    ]
    texts.append(table("one client sends | p50, ms | p99, ms", pictures))
    texts += [
        f"On the page, from a movement of the pointer to its answer: {middle(side, 'p50_ms', 1)} ms at the median, "
        f"{middle(side, 'p99_ms', 1)} ms at the 99th percentile; the browser had the other core."
        for side in found["page"].values()
    ]
    settings = [(name, middle(side, "requests_per_second")) for name, side in found["settings"].items()]
    texts.append(table("64 clients, JSON | requests/s", settings))
    start = found["start"]
    soak = found["soak"]
    warm, cold = (middle(start[f"{name} cache"], "seconds", 1) for name in ("a filled", "an empty"))
    texts.append(
        f"From start to ready: {warm} s with a filled cache of compiled programs, {cold} s with an empty one. A worker "
        f"holds {middle(start['memory'], 'mib')} MiB. A soak of {soak['requests']:,.0f} requests: "
        f"{soak['failures']:.0f} failed; memory went from {soak['first_mib']:.0f} to {soak['last_mib']:.0f} MiB."
    )
    return "\n\n".join([*texts, capacity(rate("digitjax, JSON, 64"), rate("digitjax, PNG, 64"))])


def capacity(numbers: float, pictures: float) -> str:
    """How many cores serve the users, at the requests/s of a core that 64 clients asked."""
    asked = USERS / 60
    of_json, of_png = (math.ceil(asked / (LOAD * rate)) for rate in (numbers, pictures))
    return (
        f"{USERS:,} users who ask once a minute send {asked:,.0f} requests a second. A core answers {numbers:,.0f} of "
        f"JSON or {pictures:,.0f} of PNG; {100 * LOAD:.0f} % busy, {of_json} cores serve them with JSON and {of_png} "
        f"with PNG, a pod each in `serve/kubernetes.yaml`. Workers share nothing, so that any balancer will do."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="The service beside its peers.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--soak", type=float, default=3.0, help="minutes")
    parser.add_argument("--quick", action="store_true", help="nothing is written")
    args = parser.parse_args()
    if not PEERS.exists():
        print("the peers are not installed ('make bench-setup' does it): digitjax alone is measured", file=sys.stderr)
    device.prepare(training=False)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), args.rounds, args.seconds)
        found: dict[str, Any] = bench.run()
        found["soak"] = bench.soak(args.soak)
    text = f"{as_text(found)}\n\n{machine()}"
    print(text)
    if not args.quick:
        (RESULTS / "bench_serve.json").write_text(json.dumps({"machine": machine(), **found}, indent=1) + "\n")
        fill_readme("bench-serve", text)


if __name__ == "__main__":
    main()
