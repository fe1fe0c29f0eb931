# The service with the model that ships. A CUDA machine: docker build --build-arg LOCK=requirements-cuda.lock .
FROM python:3.12-slim AS build
ARG LOCK=requirements.lock
WORKDIR /source
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH
COPY pyproject.toml README.md LICENSE requirements-dev.lock ${LOCK} ./
RUN awk '/^setuptools==/ {found = 1} found; !/\\$/ {found = 0}' requirements-dev.lock > tools.txt \
    && pip install --no-cache-dir --require-hashes --requirement tools.txt \
    && pip install --no-cache-dir --require-hashes --requirement "${LOCK}"
COPY digitjax digitjax
COPY serve serve
RUN pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.12-slim
RUN useradd --create-home --uid 10001 digitjax
COPY --from=build /venv /venv
USER 10001
WORKDIR /home/digitjax
ENV PATH=/venv/bin:$PATH DIGITJAX_HOST=0.0.0.0
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health/ready', timeout=2)"]
CMD ["python", "-m", "serve"]
