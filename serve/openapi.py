"""What the API says about itself: the bodies that routes read on their own, and refusals."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from litestar.openapi import ResponseSpec, spec

from serve.problems import Problem

Schema = Mapping[str, Any]

FILE: Schema = {"type": "string", "format": "binary", "description": "a picture file"}
LEVEL: Schema = {"type": "integer", "minimum": 0, "maximum": 255}
IMAGE: Schema = {
    "description": "784 grey levels or 28 rows of 28, in MNIST's form, bright on dark; or a picture file in base64",
    "example": [0] * 784,
    "oneOf": [
        {"type": "array", "items": LEVEL, "minItems": 784, "maxItems": 784},
        {
            "type": "array",
            "items": {"type": "array", "items": LEVEL, "minItems": 28, "maxItems": 28},
            "minItems": 28,
            "maxItems": 28,
        },
        {"type": "string", "contentEncoding": "base64", "pattern": "^([A-Za-z0-9+/]{4})*$"},
    ],
}
_NUMBER: Schema = {"type": "number", "minimum": 0, "maximum": 255}
ONE_OF_MANY: Schema = {
    "description": "as the image of /predict; what is none gets an error in its place",
    "example": [0] * 784,
    "anyOf": [
        {"type": "array", "items": {"anyOf": [_NUMBER, {"type": "array", "items": _NUMBER}]}},
        {"type": "string"},
    ],
}
_REASONS = {
    400: "The request does not fit: malformed JSON, numbers out of range, a wrong form.",
    401: "The key is missing or wrong.",
    403: "This server does not do that.",
    408: "The body came too slowly.",
    409: "The new model is broken.",
    413: "Too many bytes or images.",
    415: "A content type that this route does not take.",
    422: "The picture cannot be read.",
    429: "Too many requests of this client.",
    503: "Too many requests wait, or the server stops; Retry-After says when to come back.",
    504: "No answer within the deadline.",
    507: "No room for more.",
}


def fields(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def several(items: Schema) -> Schema:
    return {"type": "array", "items": items, "minItems": 1}


def takes(content: Mapping[str, Schema], **switches: str) -> type[spec.Operation]:
    """The operation of a route that reads one of these bodies, by media type, and these switches from its query."""

    @dataclass
    class TakesBody(spec.Operation):
        def __post_init__(self) -> None:
            bodies = {kind: {"schema": schema} for kind, schema in content.items()}
            self.request_body = {"required": True, "content": bodies}  # pyright: ignore
            boolean = spec.Schema(type=spec.OpenAPIType.BOOLEAN, default=False)
            queries = [spec.Parameter(name, "query", boolean, text) for name, text in switches.items()]
            self.parameters = [*(self.parameters or []), *queries]

    return TakesBody


def problems(*statuses: int) -> dict[int, ResponseSpec]:
    kind = "application/problem+json"
    return {
        status: ResponseSpec(Problem, generate_examples=False, description=_REASONS[status], media_type=kind)
        for status in statuses
    }


def answers_with(kind: type) -> dict[int, ResponseSpec]:
    """What a route answers that writes its answer itself."""
    return {200: ResponseSpec(kind, generate_examples=False, description="Request fulfilled, document follows")}
