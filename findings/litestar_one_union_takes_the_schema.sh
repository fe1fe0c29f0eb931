#!/usr/bin/env bash
# litestar 2.25.0, msgspec 0.22.0.
# Guess: a route that answers a msgspec Struct whose field is one of two other Structs (a result, or an error in its place) is
#   described as "oneOf" in the OpenAPI document, as the same classes as dataclasses are; msgspec encodes both without a word.
# What happens: the route works, and the whole document is gone: GET /schema/openapi.json answers 500 for every route of the
#   application, because msgspec refuses to *describe* a union of untagged Structs, which it can encode but not decode.
# Why it matters: tests of the route pass; what breaks is found by whoever opens the docs or generates a client, and the error
#   names neither route nor field. A dataclass around the same two Structs is described well.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --quiet --disable-pip-version-check "litestar==2.25.0" "msgspec==0.22.0" "httpx==0.28.1"
cat >"$here/see.py" <<'PY'
from dataclasses import dataclass

import msgspec
from litestar import Litestar, get
from litestar.testing import TestClient


class Answer(msgspec.Struct):
    digit: int


class Failure(msgspec.Struct):
    error: str


class Structs(msgspec.Struct):
    rows: list[Answer | Failure]


@dataclass
class Rows:
    rows: list[Answer | Failure]


@get("/health")
async def health() -> str:
    return "ok"


@get("/structs")
async def structs() -> Structs:
    return Structs([Answer(7), Failure("no picture")])


@get("/rows")
async def rows() -> Rows:
    return Rows([Answer(7), Failure("no picture")])


found = {}
for name, route in {"a Struct": structs, "a dataclass": rows}.items():
    with TestClient(Litestar([health, route]), raise_server_exceptions=False) as client:
        answer = client.get({"a Struct": "/structs", "a dataclass": "/rows"}[name])
        schema = client.get("/schema/openapi.json")
        found[name] = answer.status_code, schema.status_code
        print(f"{name} around a union: the route answers {answer.status_code} {answer.text}, the schema {schema.status_code}")
assert found == {"a Struct": (200, 500), "a dataclass": (200, 200)}
PY
cd "$here"
"$here/venv/bin/python" see.py 2>/dev/null
