"""The Open Inference Protocol, version 2, with its binary tensor extension: for Triton's and KServe's clients."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
from litestar import Request, Response, Router, get, post
from msgspec import Meta

from serve.images import PIXELS, Form, Source, check_number, decode, from_base64, pixels
from serve.problems import Refusal
from serve.routes import PACKED
from serve.service import Answer, Service

NAME = "digitjax"
JSON_LENGTH = "Inference-Header-Content-Length"
OUTPUTS = {"probabilities": ("FP32", np.float32, [-1, 10]), "digit": ("INT64", np.int64, [-1])}
DTYPES = {"UINT8": np.uint8, "INT32": np.dtype("<i4"), "INT64": np.dtype("<i8"), "FP32": np.dtype("<f4")}
SHAPES = ([28, 28], [28, 28, 1], [1, 28, 28], [784])
MODEL = [f"/models/{NAME}", f"/models/{NAME}/versions/{{version:str}}"]


class Output(msgspec.Struct):
    name: str
    parameters: dict[str, Any] | None = None


class Input(msgspec.Struct):
    """An array by name; its elements are in `data`, or `binary_data_size` bytes of them follow the JSON."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] | None = None
    data: list[Any] | None = None


class Inference(msgspec.Struct):
    inputs: Annotated[list[Input], Meta(min_length=1, max_length=1)]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[Output] | None = None


_decoder = msgspec.json.Decoder(Inference)


def sources_of(given: Input, binary: bytes, most: int) -> list[Source]:
    """The images of a request: grey levels in MNIST's form, or picture files where the datatype is BYTES.

    Raises:
      Refusal: 400 or 413.
    """
    kinds = "UINT8, INT32, INT64 or FP32 of [n, 28, 28], or picture files as BYTES of [n]"
    if given.name != "image" or given.datatype not in (*DTYPES, "BYTES"):
        raise Refusal(400, f"the input is {given.name[:50]!r} of {given.datatype[:20]!r}: send 'image' of {kinds}")
    files = given.datatype == "BYTES"
    if not given.shape or given.shape[0] < 1 or given.shape[1:] not in (([], [1]) if files else SHAPES):
        raise Refusal(400, f"the shape is {given.shape[:9]}: send {kinds}, with n at least 1")
    check_number(given.shape[0], most)
    if given.data is None and (given.parameters or {}).get("binary_data_size") != len(binary):
        raise Refusal(400, f"{len(binary)} bytes follow the JSON: say so in 'binary_data_size', or send 'data'")
    found = (_files if files else _levels)(given, binary)
    if len(found) != given.shape[0]:
        raise Refusal(400, f"there are elements for {len(found)} images, and the shape is {given.shape}")
    return found


def _levels(given: Input, binary: bytes) -> list[Source]:
    try:
        array = np.frombuffer(binary, DTYPES[given.datatype]) if given.data is None else np.array(given.data).ravel()
    except ValueError as error:
        raise Refusal(400, "the data are nested or cut unevenly: send as many elements as the shape says") from error
    if array.dtype.kind not in "iuf" or array.size % PIXELS:
        raise Refusal(400, f"the data are {array.size} elements: send numbers, {PIXELS} for each image")
    if array.size and not (array.min() >= 0 and array.max() <= 255):
        raise Refusal(400, f"grey levels go from {array.min()} to {array.max()}: send them from 0 to 255")
    if array.any() and array.max() <= 1:
        raise Refusal(400, "grey levels go from 0 to 1: send them from 0 to 255")
    content = array.round().astype(np.uint8).tobytes()
    return [Source(content[start : start + PIXELS], False, "image") for start in range(0, len(content), PIXELS)]


def _files(given: Input, binary: bytes) -> list[Source]:
    """Strings in base64, or lengths of four bytes with as many bytes behind each."""
    if given.data is not None:
        texts = [text for row in given.data for text in (row if isinstance(row, list) else [row])]
        if not all(isinstance(text, str) for text in texts):
            raise Refusal(400, "the data are no strings: send each picture file in base64")
        return [from_base64(text, f"image {place}") for place, text in enumerate(texts)]
    found, start = [], 0
    while start < len(binary):
        end = start + 4 + int.from_bytes(binary[start : start + 4], "little")
        if end > len(binary):
            raise Refusal(400, f"a length tells of {end} bytes, and there are {len(binary)}: send all of them")
        found.append(Source(binary[start + 4 : end], True, f"image {len(found)}"))
        start = end
    return found


def response_to(asked: Inference, answers: Sequence[Answer]) -> Response[bytes]:
    binary_by_default = (asked.parameters or {}).get("binary_data_output", False)
    tensors, binary = [], []
    for output in asked.outputs or [Output(name) for name in OUTPUTS]:
        datatype, dtype, _ = OUTPUTS[output.name]
        values = np.array([getattr(answer, output.name) for answer in answers], dtype)
        tensor: dict[str, Any] = dict(name=output.name, datatype=datatype, shape=values.shape)
        if (output.parameters or {}).get("binary_data", binary_by_default):
            binary.append(values.tobytes())
            tensors.append(tensor | {"parameters": {"binary_data_size": values.nbytes}})
        else:
            tensors.append(tensor | {"data": values.ravel().tolist()})
    document = dict(model_name=NAME, model_version=answers[0].model, id=asked.id or "", outputs=tensors)
    head = msgspec.json.encode(document)
    if not binary:
        return Response(head, media_type="application/json")
    headers = {JSON_LENGTH: str(len(head))}
    return Response(head + b"".join(binary), media_type="application/octet-stream", headers=headers)


def router(service: Service) -> Router:
    def check(version: str) -> None:
        known = service.predictor.checksum
        if version not in ("", known):
            raise Refusal(404, f"there is no version {version[:50]!r} of {NAME}: there is {known}")

    @get("/")
    async def server() -> Mapping[str, Any]:
        return dict(name=NAME, version=service.predictor.checksum, extensions=["binary_tensor_data"])

    @get("/health/live")
    async def live() -> Mapping[str, bool]:
        return {"live": True}

    @get("/health/ready")
    async def ready() -> Mapping[str, bool]:
        service.check_ready()
        return {"ready": True}

    @get([path + "/ready" for path in MODEL])
    async def model_ready(version: str = "") -> Mapping[str, bool]:
        check(version)
        service.check_ready()
        return {"ready": True}

    @get(MODEL)
    async def metadata(version: str = "") -> Mapping[str, Any]:
        check(version)
        inputs = [dict(name="image", datatype="UINT8", shape=[-1, 28, 28])]
        outputs = [dict(name=name, datatype=datatype, shape=shape) for name, (datatype, _, shape) in OUTPUTS.items()]
        return dict(name=NAME, versions=[service.predictor.checksum], platform="jax", inputs=inputs, outputs=outputs)

    @get([path + "/config" for path in MODEL])
    async def config(version: str = "") -> Mapping[str, Any]:
        check(version)
        inputs = [dict(name="image", data_type="TYPE_UINT8", dims=[28, 28])]
        outputs = [
            dict(name=name, data_type=f"TYPE_{datatype}", dims=shape[1:] or [1])
            for name, (datatype, _, shape) in OUTPUTS.items()
        ]
        most = service.settings.max_images
        return dict(name=NAME, platform="jax", backend="", max_batch_size=most, input=inputs, output=outputs)

    @get(["/models/stats", *(path + "/stats" for path in MODEL)])
    async def statistics(version: str = "") -> None:
        check(version)
        raise Refusal(404, "the statistics extension is not offered here: /metrics has the figures")

    @post("/repository/index", status_code=200)
    async def index() -> Sequence[Mapping[str, str]]:
        return [dict(name=NAME, version=service.predictor.checksum, state="READY", reason="")]

    @post([path + "/infer" for path in MODEL], status_code=200)
    async def infer(request: Request, version: str = "") -> Response[bytes]:
        check(version)
        body, length = request.scope["state"]["body"], request.headers.get(JSON_LENGTH)
        if length and not (length.isascii() and length.isdigit() and len(length) < 10 and int(length) <= len(body)):
            raise Refusal(400, f"{JSON_LENGTH} is {length[:20]!r}: send the number of bytes of JSON")
        end = int(length or len(body))
        asked = decode(_decoder, body[:end])
        if unknown := {output.name for output in asked.outputs or []} - OUTPUTS.keys():
            raise Refusal(400, f"no output is called {unknown.pop()[:50]!r}: there are {', '.join(OUTPUTS)}")
        found = sources_of(asked.inputs[0], body[end:], service.settings.max_images)
        if found[0].is_picture:
            quick = service.quick
            coming = [service.in_thread(request.scope, quick, pixels, source) for source in found]
            forms: list[Form] = await asyncio.gather(*coming)
        else:
            forms = [Form(source.content) for source in found]
        return response_to(asked, await service.judge(request.scope, forms))

    handlers = [server, live, ready, model_ready, metadata, config, statistics, index, infer]
    return Router("/v2", route_handlers=handlers, include_in_schema=False, middleware=PACKED)
