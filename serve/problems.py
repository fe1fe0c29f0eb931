"""Refusals, as RFC 9457 problem documents, or in the words of the Open Inference Protocol on its routes."""

from collections.abc import Mapping
from http import HTTPStatus

import msgspec


class Refusal(Exception):
    """An answer other than success: its status, and a sentence that says what is wrong and what to send."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None):
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers or {}


class Problem(msgspec.Struct):
    """A problem document (RFC 9457)."""

    title: str
    status: int
    detail: str


def document(path: str, status: int, detail: str) -> tuple[str, bytes]:
    """Media type and body of a refusal on `path`."""
    if path == "/v2" or path.startswith("/v2/"):
        return "application/json", msgspec.json.encode({"error": detail})
    return "application/problem+json", msgspec.json.encode(Problem(HTTPStatus(status).phrase, status, detail))
