"""The Open Inference Protocol, version 2, with its binary tensor extension: for Triton's and KServe's clients."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
from litestar import Request, Response, Router, get, post
from msgspec import Meta

from serve.images import PIXELS, Level, check_number, decode
from serve.problems import Refusal
from serve.service import Answer, Service

NAME = "digitjax"
JSON_LENGTH = "Inference-Header-Content-Length"
OUTPUTS = {"probabilities": ("FP32", np.float32, [-1, 10]), "digit": ("INT64", np.int64, [-1])}


class Output(msgspec.Struct):
    name: str
    parameters: dict[str, Any] = {}


class Input(msgspec.Struct):
    """An array by name; its elements are in `data`, or `binary_data_size` bytes of them follow the JSON."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] = {}
    data: list[Level | list[Level | list[Level]]] | None = None


class Inference(msgspec.Struct):
    inputs: Annotated[list[Input], Meta(min_length=1, max_length=1)]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[Output] = []


_decoder = msgspec.json.Decoder(Inference)


def images_of(given: Input, binary: bytes, most: int) -> list[bytes]:
    """The images of a request, 784 bytes each.

    Raises:
      Refusal: 400 or 413.
    """
    if given.name != "image" or given.datatype != "UINT8":
        raise Refusal(400, f"the input is {given.name[:50]!r} of {given.datatype[:20]!r}: send 'image' of 'UINT8'")
    if given.shape[1:] != [28, 28] or given.shape[0] < 1:
        raise Refusal(400, f"the shape is {given.shape[:9]}: send [n, 28, 28], with n at least 1")
    check_number(given.shape[0], most)
    content = binary
    if given.data is not None:
        try:
            content = np.array(given.data, np.uint8).tobytes()
        except ValueError as error:
            raise Refusal(400, "the data are nested unevenly: send them flat, or nested as the shape says") from error
    elif given.parameters.get("binary_data_size") != len(binary):
        raise Refusal(400, f"{len(binary)} bytes follow the JSON: say so in 'binary_data_size', or send 'data'")
    if len(content) != given.shape[0] * PIXELS:
        raise Refusal(400, f"{len(content)} elements do not fill the shape {given.shape}")
    return [content[start : start + PIXELS] for start in range(0, len(content), PIXELS)]


def response_to(asked: Inference, answers: Sequence[Answer]) -> Response[bytes]:
    binary_by_default = asked.parameters.get("binary_data_output", False)
    tensors, binary = [], []
    for output in asked.outputs or [Output(name) for name in OUTPUTS]:
        datatype, dtype, _ = OUTPUTS[output.name]
        values = np.array([getattr(answer, output.name) for answer in answers], dtype)
        tensor: dict[str, Any] = dict(name=output.name, datatype=datatype, shape=values.shape)
        if output.parameters.get("binary_data", binary_by_default):
            binary.append(values.tobytes())
            tensors.append(tensor | {"parameters": {"binary_data_size": values.nbytes}})
        else:
            tensors.append(tensor | {"data": values.ravel().tolist()})
    document = dict(model_name=NAME, model_version=answers[0].model, id=asked.id, outputs=tensors)
    head = msgspec.json.encode(document)
    if not binary:
        return Response(head, media_type="application/json")
    headers = {JSON_LENGTH: str(len(head))}
    return Response(head + b"".join(binary), media_type="application/octet-stream", headers=headers)


def router(service: Service) -> Router:
    @get("/")
    async def server() -> Mapping[str, Any]:
        return dict(name=NAME, version=service.predictor.checksum, extensions=["binary_tensor_data"])

    @get("/health/live")
    async def live() -> Mapping[str, bool]:
        return {"live": True}

    @get(["/health/ready", f"/models/{NAME}/ready"])
    async def ready() -> Mapping[str, bool]:
        service.check_ready()
        return {"ready": True}

    @get(f"/models/{NAME}")
    async def metadata() -> Mapping[str, Any]:
        inputs = [dict(name="image", datatype="UINT8", shape=[-1, 28, 28])]
        outputs = [dict(name=name, datatype=datatype, shape=shape) for name, (datatype, _, shape) in OUTPUTS.items()]
        return dict(name=NAME, versions=[service.predictor.checksum], platform="jax", inputs=inputs, outputs=outputs)

    @post(f"/models/{NAME}/infer", status_code=200)
    async def infer(request: Request) -> Response[bytes]:
        body, length = request.scope["state"]["body"], request.headers.get(JSON_LENGTH)
        if length and not (length.isascii() and length.isdigit() and len(length) < 10 and int(length) <= len(body)):
            raise Refusal(400, f"{JSON_LENGTH} is {length[:20]!r}: send the number of bytes of JSON")
        end = int(length or len(body))
        asked = decode(_decoder, body[:end])
        if unknown := {output.name for output in asked.outputs} - OUTPUTS.keys():
            raise Refusal(400, f"no output is called {unknown.pop()[:50]!r}: there are {', '.join(OUTPUTS)}")
        job = await service.judge(request.scope, images_of(asked.inputs[0], body[end:], service.settings.max_images))
        return response_to(asked, job)

    return Router("/v2", route_handlers=[server, live, ready, metadata, infer], include_in_schema=False)
