"""The routes: what comes in, what the model says, what goes out."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

import cv2
import msgspec
import numpy as np
from litestar import Request, Response, get, post
from litestar.config.compression import CompressionConfig
from litestar.handlers import HTTPRouteHandler
from litestar.middleware import DefineMiddleware
from litestar.middleware.compression import CompressionMiddleware
from litestar.params import Parameter
from litestar.types import ASGIApp, Receive, Scope, Send

from digitjax.base.errors import DigitjaxError
from digitjax.network import explain, model
from digitjax.reading import lines, tables
from serve import feedback, images, metrics
from serve.openapi import FILE, IMAGE, ONE_OF_MANY, answers_with, fields, problems, several, takes
from serve.problems import Refusal
from serve.service import Answer, Service, feature_maps

PACKED = [DefineMiddleware(CompressionMiddleware, config=CompressionConfig("gzip", 2048, gzip_compress_level=4))]
"""Of routes that may answer at length; the others do not pay for a look at whether they do."""
METHOD = Parameter(pattern=f"^({'|'.join(explain.METHODS)})$")
LABELS = [str(digit) for digit in range(10)]
REFUSALS = problems(400, 401, 408, 413, 415, 422, 429, 503, 504)
SWITCHES = {
    "canonical": "bring numbers, too, into MNIST's form",
    "input": "answer the 28x28 that the network read, too",
}
ALL_SWITCHES = SWITCHES | {"strict": "refuse all where one is bad"}
ONE = {"application/json": fields(image=IMAGE), "multipart/form-data": fields(file=FILE)} | dict.fromkeys(
    ("image/png", "image/jpeg"), FILE
)
MANY = {"application/json": fields(images=several(ONE_OF_MANY)), "multipart/form-data": fields(files=several(FILE))}
TAKES_ONE = takes(ONE)
TAKES_LABELLED = takes({"multipart/form-data": fields(file=FILE, label={"type": "string", "enum": LABELS})})


class Switches(msgspec.Struct):
    canonical: bool = False
    input: bool = False


class BatchSwitches(Switches):
    strict: bool = False


class Failure(msgspec.Struct):
    """What stands in the place of an image that cannot be read."""

    error: str


@dataclass
class Answers:  # a dataclass, since msgspec describes no Struct that holds one of two others
    predictions: list[Answer | Failure]


ONE_ANSWER, MANY_ANSWERS = answers_with(Answer) | REFUSALS, answers_with(Answers) | REFUSALS


class Explanation(Answer, kw_only=True):
    method: str
    explained: int
    """The class that the heat speaks for."""
    heatmap: list[list[float]]
    """28 rows of 28 from 0 to 1; 0 everywhere where nothing speaks for the class."""


class Digit(msgspec.Struct):
    digit: int
    confidence: float
    box: list[int]
    """Left, top, width and height, in pixels of the picture as seen."""
    verdict: str


class Reading(msgspec.Struct, omit_defaults=True):
    text: str
    lines: list[list[Digit]]
    confidence: float
    """The probability that the text is right, whole."""
    truncated: bool
    """Whether there was more than is read of one picture."""
    turned: int
    """Degrees by which the page lies turned clockwise; boxes are those of the picture as it came."""
    table: list[list[str]] | None = None
    """With `table=1`: the cells, row by row."""


class Features(msgspec.Struct):
    layer: int
    layers: int
    maps: list[list[list[float]]]
    """[channel, row, column], each channel from 0 to 1."""


class Kept(msgspec.Struct):
    new: bool


class Status(msgspec.Struct):
    status: str


class Model(msgspec.Struct):
    name: str
    checksum: str
    network: dict[str, Any]
    parameters: int
    layers: int
    feedback: bool
    """Whether this server keeps corrections."""


def routes(service: Service) -> Sequence[HTTPRouteHandler]:
    settings = service.settings

    def only_source(request: Request) -> images.Source:
        [source] = images.sources(*_body(request), False, settings.max_images)
        if isinstance(source, Refusal):
            raise source
        return source

    async def form_of(request: Request, source: images.Source, canonical: bool) -> images.Form:
        if images.is_quick(source):
            return images.pixels(source, canonical)
        return await service.in_thread(request.scope, service.quick, images.pixels, source, canonical)

    async def tried(request: Request, source: images.Source | Refusal, canonical: bool) -> images.Form | Refusal:
        """An image in MNIST's form, or what is wrong with it."""
        if isinstance(source, Refusal):
            return source
        try:
            return await form_of(request, source, canonical)
        except Refusal as refusal:
            if refusal.status != 422:
                raise
            return refusal

    async def forms_of(
        request: Request, found: Sequence[images.Source | Refusal], canonical: bool
    ) -> Sequence[images.Form | Refusal]:
        coming = [tried(request, source, canonical) for source in found]
        if all(isinstance(source, Refusal) or images.is_quick(source) for source in found):
            return [await one for one in coming]  # nothing to wait for: a task for each would take longer
        return await asyncio.gather(*coming)

    def only_form(request: Request, canonical: bool) -> Awaitable[images.Form]:
        return form_of(request, only_source(request), canonical)

    async def judged(request: Request, forms: Sequence[images.Form], with_input: bool) -> list[Answer]:
        answers = await service.judge(request.scope, forms)
        for answer, form in zip(answers, forms):
            if with_input:
                answer.input = _image(form.content).tolist()
            if form.several:
                answer.several, answer.verdict = True, "unsure" if answer.verdict == "digit" else answer.verdict
        return answers

    @post("/predict", status_code=200, operation_class=takes(ONE, **SWITCHES), responses=ONE_ANSWER)
    async def predict(request: Request) -> ASGIApp:
        """Which digit a picture shows. Pictures take MNIST's form first, numbers only with `canonical`."""
        switches = _switches(request, Switches)
        return _json((await judged(request, [await only_form(request, switches.canonical)], switches.input))[0])

    @post(
        "/predict/batch",
        status_code=200,
        middleware=PACKED,
        operation_class=takes(MANY, **ALL_SWITCHES),
        responses=MANY_ANSWERS,
    )
    async def predict_batch(request: Request) -> ASGIApp:
        """As /predict, for many pictures; in the place of a bad one stands what is wrong with it."""
        switches = _switches(request, BatchSwitches)
        found = images.sources(*_body(request), True, settings.max_images)
        forms = await forms_of(request, found, switches.canonical)
        good = [form for form in forms if isinstance(form, images.Form)]
        if switches.strict and len(good) < len(forms):
            raise Refusal(422, next(form.detail for form in forms if isinstance(form, Refusal)))
        answers = iter(await judged(request, good, switches.input) if good else [])
        return _json(Answers([
            next(answers) if isinstance(form, images.Form) else Failure(form.detail) for form in forms
        ]))  # fmt: skip

    @post("/explain", status_code=200, middleware=PACKED, operation_class=TAKES_ONE, responses=REFUSALS)
    async def explanation(
        request: Request,
        canonical: bool = False,
        method: Annotated[str, METHOD] = "gradcam",
        of: Annotated[str, Parameter(query="class", pattern="^[0-9]?$")] = "",
    ) -> Response[Explanation]:
        """Where the network looks, for a class or for the one that it reads; as a picture to who accepts image/png."""
        form = await only_form(request, canonical)
        [answer] = await service.judge(request.scope, [form])
        image = _image(form.content)
        answer.input = image.tolist()
        explained = int(of or answer.digit)
        predictor = service.predictor
        arguments = predictor.config, predictor.variables, image[None], np.array([explained]), method
        [heat] = await service.in_thread(request.scope, service.dear, explain.explain, *arguments)
        if "image/png" in request.headers.get("accept", ""):
            return Response(_overlay(image, heat), media_type="image/png")  # pyright: ignore
        rows = heat.astype(float).round(4).tolist()
        answered: dict[str, Any] = msgspec.structs.asdict(answer)
        return Response(Explanation(**answered, method=method, explained=explained, heatmap=rows))

    @post("/read", status_code=200, middleware=PACKED, operation_class=TAKES_ONE, responses=REFUSALS)
    async def reading(request: Request, table: bool = False) -> Reading:
        """The digits of a picture that has one or more of them, line by line, from left to right; as a table, too."""
        source = only_source(request)
        picture = source.content if source.is_picture else _image(source.content)
        found = await service.in_thread(request.scope, service.dear, lines.read, service.predictor, picture)
        rows = [[Digit(*digit) for digit in line] for line in found.lines]
        cells = tables.cells(found) if table else None
        return Reading(found.text, rows, found.confidence, found.truncated, found.turned, cells)

    @post("/features", status_code=200, middleware=PACKED, operation_class=TAKES_ONE, responses=REFUSALS)
    async def features(request: Request, layer: Annotated[int, Parameter(ge=0)] = 0) -> Features:
        """What convolution `layer`, counted from 0, hands on."""
        layers = sum(service.predictor.config.depth)
        if layer >= layers:
            raise Refusal(422, f"layer is {layer}: this network's convolutions are 0 to {layers - 1}")
        form = await only_form(request, False)
        maps = await service.in_thread(
            request.scope, service.dear, feature_maps, service.predictor, _image(form.content), layer
        )
        return Features(layer, layers, maps.round(3).tolist())

    @post("/feedback", status_code=201, operation_class=TAKES_LABELLED, responses=REFUSALS | problems(403, 507))
    async def correction(request: Request) -> Kept:
        """Keeps a picture that was read wrongly, with its true digit."""
        if not settings.feedback_dir:
            raise Refusal(403, "corrections are not kept here: whoever runs the server sets DIGITJAX_FEEDBACK_DIR")
        body, kind = _body(request)
        if not kind.startswith("multipart/form-data"):
            raise Refusal(415, "the content type is another: send multipart/form-data with 'file' and 'label'")
        given = dict(images.form(body, kind, 2))
        label = given.get("label", b"").decode(errors="replace")
        if given.keys() != {"file", "label"} or label not in LABELS:
            raise Refusal(400, "the form does not fit: send the picture as 'file', and a 'label' from 0 to 9")
        folder, limits = Path(settings.feedback_dir), (settings.feedback_files, settings.feedback_bytes)
        return Kept(
            await service.in_thread(request.scope, service.quick, feedback.save, folder, label, given["file"], *limits)
        )

    @post("/no-op", status_code=200, include_in_schema=False)
    async def no_op(request: Request) -> ASGIApp:
        """Reads the body and does nothing with it: what the service costs without the model."""
        _body(request)
        return _json(Status("ok"))

    @get("/health/live")
    async def live() -> Status:
        """Whether the process answers at all."""
        return Status("live")

    @get("/health/ready", responses=problems(503))
    async def ready() -> Status:
        """Whether to send requests here."""
        service.check_ready()
        return Status("ready")

    def about() -> Model:
        predictor = service.predictor
        network = msgspec.to_builtins(predictor.config)
        parameters = model.parameter_count(predictor.variables)
        depth, keeps = sum(predictor.config.depth), bool(settings.feedback_dir)
        return Model(predictor.name, predictor.checksum, network, parameters, depth, keeps)

    @get("/model")
    async def model_card() -> Model:
        """The model that answers now."""
        return about()

    @post("/admin/reload", status_code=200, responses=problems(401, 403, 409))
    async def reload() -> Model:
        """Loads the model anew, and answers with it once it is in place."""
        if not settings.api_key:
            raise Refusal(403, "reloading by HTTP is off: set DIGITJAX_API_KEY, or send the process a SIGHUP")
        try:
            await service.reload()
        except DigitjaxError as error:
            raise Refusal(409, f"the model stays, since the new one is broken: {error}") from error
        return about()

    @get("/metrics", media_type="text/plain; version=0.0.4", sync_to_thread=True)
    def exposition() -> bytes:
        """Figures for Prometheus."""
        return metrics.exposition()

    return [
        *(predict, predict_batch, explanation, reading, features, correction, no_op),
        *(live, ready, model_card, reload, exposition),
    ]


def _body(request: Request) -> tuple[bytes, str]:
    """The body, which the edge has read, and its content type; Litestar's own ways take longer."""
    state = request.scope["state"]
    return state["body"], state["content_type"]


def _json(answer: msgspec.Struct | Answers) -> ASGIApp:
    """`answer` on its way out, for routes that cannot spare the time of Litestar's Response."""
    body = msgspec.json.encode(answer)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    return app


S = TypeVar("S", bound=Switches)


def _switches(request: Request, kind: type[S]) -> S:
    """What the query asks for; typed parameters would cost each request some time, query or none.

    Raises:
      Refusal: 400.
    """
    query = request.scope["query_string"]
    if not query:
        return kind()
    try:
        return msgspec.convert(dict(parse_qsl(query.decode("latin-1"), True)), kind, strict=False)
    except msgspec.ValidationError as error:
        raise Refusal(400, f"the query does not fit: {error}") from error


def _image(content: bytes) -> np.ndarray:
    return np.frombuffer(content, np.uint8).reshape(28, 28)


def _overlay(image: np.ndarray, heat: np.ndarray) -> bytes:
    """A PNG of 280 x 280: the image in grey, its heat in red."""
    grey = cv2.resize(image, (280, 280), interpolation=cv2.INTER_NEAREST).astype(float)[..., None]
    warmth = cv2.resize(heat, (280, 280), interpolation=cv2.INTER_LINEAR)[..., None] * 0.7
    blended = grey * (1 - warmth) + np.array([30, 60, 240]) * warmth
    return cv2.imencode(".png", blended.round().astype(np.uint8))[1].tobytes()
