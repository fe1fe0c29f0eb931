"""The Litestar app, made of what it needs."""

import errno
import logging
from http import HTTPStatus
from pathlib import Path
from typing import Any

from litestar import Litestar, Request, Response, Router
from litestar.config.cors import CORSConfig
from litestar.exceptions import HTTPException, MissingDependencyException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.plugins import InitPlugin
from litestar.static_files import create_static_files_router

from digitjax.base.errors import DigitjaxError
from digitjax.picture.pixels import PictureError
from serve import routes, v2
from serve.edge import Edge, named
from serve.problems import Refusal, document
from serve.service import Service

PAGE = Path(__file__).parent / "static"


def create_app(service: Service) -> Edge:
    """The whole service as one ASGI app."""
    origins = named(service.settings.cors_origins)
    page = create_static_files_router("/", [PAGE], html_mode=True, include_in_schema=False, middleware=routes.PACKED)
    schema = Router("/schema", route_handlers=[], middleware=routes.PACKED, include_in_schema=False)
    app = Litestar(
        [*routes.routes(service), v2.router(service), page],
        exception_handlers={Exception: _refused, HTTPException: _refused},
        openapi_config=OpenAPIConfig(
            "digitjax", "1", use_handler_docstrings=True, render_plugins=[JsonRenderPlugin()], openapi_router=schema
        ),
        cors_config=CORSConfig(allow_origins=origins) if origins else None,
        request_max_body_size=None,  # the edge has read it
        logging_config=None,
        plugins=[_tracing()] if service.settings.tracing else [],
    )
    return Edge(app, service)


def _tracing() -> InitPlugin:
    """A span a request, to where OpenTelemetry's own variables say (OTEL_EXPORTER_OTLP_ENDPOINT and the like)."""
    try:
        from litestar.plugins.opentelemetry import OpenTelemetryConfig, OpenTelemetryPlugin
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except (ImportError, MissingDependencyException) as error:
        raise DigitjaxError("DIGITJAX_TRACING needs more packages: pip install 'digitjax[tracing]'") from error
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    left_out: dict[str, Any] = dict(exclude_spans=["receive", "send"], exclude="/health/|/metrics")
    return OpenTelemetryPlugin(OpenTelemetryConfig(tracer_provider=provider, **left_out))


def _refused(request: Request, error: Exception) -> Response:
    refusal = _as_refusal(request, error)
    media_type, body = document(request.url.path, refusal.status, refusal.detail)
    return Response(body, status_code=refusal.status, media_type=media_type, headers=refusal.headers)


def _is_there(request: Request) -> bool:
    """Whether a path has a route or a file of its own: the page's folder takes GET of any."""
    path = request.url.path.rstrip("/")
    return path in {route.path.rstrip("/") for route in request.app.routes} or (PAGE / path.lstrip("/")).is_file()


def _as_refusal(request: Request, error: Exception) -> Refusal:
    path = request.url.path[:100]
    match error:
        case Refusal():
            return error
        case PictureError():
            return Refusal(422, str(error))
        # The page's folder also says so of a path that no file system takes: too long, or through a file.
        case (
            HTTPException(status_code=404) | HTTPException(__cause__=OSError(errno=errno.ENAMETOOLONG | errno.ENOTDIR))
        ):
            return Refusal(404, f"there is nothing at {path}: see /schema")
        case HTTPException(status_code=405) if not _is_there(request):
            return Refusal(404, f"there is nothing at {path}: see /schema")
        case HTTPException(status_code=405, headers=headers):
            allowed = (headers or {}).get("allow")
            return Refusal(405, f"{path} does not take {request.method}: send one of {allowed}", headers)
        case HTTPException():
            details = [f"{one.get('key')}: {one.get('message')}" for one in error.extra or [] if isinstance(one, dict)]
            said = "; ".join([error.detail or HTTPStatus(error.status_code).description, *details])
            return Refusal(error.status_code, said, error.headers)
    logging.getLogger("serve").error("unforeseen", exc_info=error)
    return Refusal(500, "this server has failed, and says why in its log: try again later")
