"""Every knob of the service, read once from environment variables named DIGITJAX_..."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, get_type_hints

import msgspec
from msgspec import Meta

from digitjax.base.errors import UsageError

PREFIX = "DIGITJAX_"


@dataclass(frozen=True, kw_only=True)
class Settings:
    model: Annotated[str, Meta(description="'pretrained', a run folder, or a model file")] = "pretrained"
    host: Annotated[str, Meta(description="address to listen on")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="port to listen on; 0 takes a free one")] = 8000
    workers: Annotated[int, Meta(ge=1, le=256, description="processes, each with a model of its own")] = 1
    api_key: Annotated[
        str, Meta(description="what clients must send as 'Authorization: Bearer KEY'; none if empty")
    ] = ""
    cors_origins: Annotated[str, Meta(description="origins whose pages may call, by commas; none if empty")] = ""
    hosts: Annotated[
        str, Meta(description="names with a dot under which clients may call, by commas, or *; others are refused")
    ] = ""
    trusted_proxies: Annotated[str, Meta(description="addresses whose X-Forwarded-For counts, by commas")] = ""
    rate_limit: Annotated[float, Meta(ge=0, description="requests a second of one client and worker; 0: any")] = 0.0
    max_body: Annotated[int, Meta(ge=1024, description="bytes of a request")] = 6 << 20
    max_bodies: Annotated[int, Meta(ge=1024, description="bytes of all requests that a worker holds")] = 64 << 20
    max_images: Annotated[int, Meta(ge=1, le=10_000, description="images of a request")] = 1000
    max_waiting: Annotated[int, Meta(ge=1, description="images that may wait for the model")] = 4096
    max_connections: Annotated[int, Meta(ge=1, description="open connections of a worker")] = 1000
    deadline: Annotated[float, Meta(gt=0, description="seconds in which a request is answered, or answered 504")] = 5.0
    read_timeout: Annotated[float, Meta(gt=0, description="seconds that a client has to send a request")] = 10.0
    drain: Annotated[float, Meta(ge=0, description="seconds from 'not ready' to the end, after SIGTERM")] = 1.0
    feedback_dir: Annotated[str, Meta(description="folder that keeps corrected pictures; none if empty")] = ""
    feedback_files: Annotated[int, Meta(ge=1, description="pictures it may hold")] = 10_000
    feedback_bytes: Annotated[int, Meta(ge=1, description="bytes it may hold")] = 256 << 20
    access_log: Annotated[bool, Meta(description="whether each request gets a line")] = True
    tracing: Annotated[bool, Meta(description="spans for OpenTelemetry; needs digitjax[tracing]")] = False
    metrics: Annotated[bool, Meta(description="whether requests are counted for /metrics")] = True


def read(environ: Mapping[str, str]) -> Settings:
    """The settings that `environ` gives.

    Raises:
      UsageError: a value that does not fit, with its name.
    """
    values = {field.name: environ[name] for field in fields(Settings) if (name := variable(field.name)) in environ}
    for name, value in values.items():
        try:
            msgspec.convert({name: value}, Settings, strict=False)
        except msgspec.ValidationError as error:
            reason = str(error).split(" - at ")[0]
            shown = "..." if name == "api_key" else repr(value)
            raise UsageError(f"{variable(name)} is {shown}: {reason[0].lower()}{reason[1:]}") from error
    return msgspec.convert(values, Settings, strict=False)


def variable(name: str) -> str:
    return PREFIX + name.upper()


def described() -> str:
    """A line for each setting: its variable, what it means, its default."""
    hints = get_type_hints(Settings, include_extras=True)
    return "\n".join(
        f"  {variable(field.name):<26}{hints[field.name].__metadata__[0].description} ({field.default!r})"
        for field in fields(Settings)
    )
