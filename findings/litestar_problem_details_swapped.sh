#!/usr/bin/env bash
# litestar 2.25.0.
# Guess: with ProblemDetailsPlugin(enable_for_all_http_exceptions) an HTTPException("seven is no colour") becomes an RFC 9457 document
#   whose `title` names the kind of problem ("Bad Request") and whose `detail` holds the text of the occurrence.
# What happens: the text of the occurrence is the `title`, and the phrase of the status is the `detail`: the two are swapped.
# Why it matters: clients group by `title` and show `detail`. Each occurrence becomes a kind of its own, and people read "Bad Request".
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --quiet --disable-pip-version-check litestar==2.25.0 httpx==0.28.1
cat >"$here/see.py" <<'PY'
from litestar import Litestar, get
from litestar.exceptions import HTTPException
from litestar.plugins.problem_details import ProblemDetailsConfig, ProblemDetailsPlugin
from litestar.testing import TestClient

@get("/", sync_to_thread=False)
def colour() -> None:
    raise HTTPException("seven is no colour", status_code=400)

plugin = ProblemDetailsPlugin(ProblemDetailsConfig(enable_for_all_http_exceptions=True))
with TestClient(Litestar([colour], plugins=[plugin])) as client:
    document = client.get("/").json()
print(document)
assert document.get("title") == "seven is no colour", "the occurrence stands in the title"
assert document.get("detail") != "seven is no colour"
PY
"$here/venv/bin/python" "$here/see.py"
