#!/usr/bin/env bash
# multipart 2.0.1 (what Litestar parses forms with), python-multipart 0.0.34 (what FastAPI, Starlette and KServe bring),
# mypy 1.18.2.
# Guess: since python-multipart is imported as `python_multipart`, it and the distribution that is called multipart have
#   nothing to do with each other, and may be installed side by side.
# What happens: python-multipart still ships a package folder `multipart`, which Python prefers to the other's file
#   multipart.py. At run time the folder looks for the other and steps aside; whatever reads without running (type
#   checkers, editors) sees the folder alone, in which nothing is. A project that passed its type checks fails them when a
#   dependency, of a test or far down, brings python-multipart; what failed is not what was installed.
# Why it matters: the message is about one's own, right code ("Module has no attribute"); the way out is to keep
#   python-multipart out of the lock where nobody needs it.
set -euo pipefail
here=$(mktemp -d); trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
pip() { "$here/venv/bin/pip" install --quiet --quiet --disable-pip-version-check "$@"; }
pip multipart==2.0.1 mypy==1.18.2
cat >"$here/ours.py" <<'PY'
import multipart

print(multipart.__file__.rpartition("/")[2], multipart.MultipartSegment.__name__)
PY
look() { (cd "$here" && venv/bin/python ours.py && venv/bin/mypy --follow-untyped-imports --no-error-summary --cache-dir=/dev/null ours.py); }
echo "multipart alone:"; look
pip python-multipart==0.0.34
echo "with python-multipart beside it:"
if look >"$here/said"; then echo "the type checker found nothing: it has changed"; exit 1; fi
cat "$here/said"
grep -q "^multipart.py MultipartSegment" "$here/said" && grep -q 'has no attribute "MultipartSegment"' "$here/said"
