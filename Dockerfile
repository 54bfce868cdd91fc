# syntax=docker/dockerfile:1
#
# Two images from one file, neither with a compiler or a root user:
#
#   docker build --target api    -t unembed-api .      the API, the migrations, Flower; no torch
#   docker build --target worker -t unembed-worker .   the decoder as well
#
# torch comes from pip's own index unless TORCH_INDEX_URL names another. On Linux the build found there brings CUDA along
# (some gigabytes), which a GPU worker needs and a CPU worker does not: pytorch.org lists an index of CPU builds.

ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS source
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/opt/unembed/bin:$PATH
RUN python -m venv /opt/unembed
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
# unembed/models, unembed/api, ... are links to the folders beside it. The weights and the engine in models/ are packages of
# their own; the engine is compiled by the clang of the package ziglang, which the build fetches.
COPY unembed unembed
COPY models models
COPY worker worker
COPY api api
COPY migrations migrations

FROM source AS build-api
RUN --mount=type=cache,target=/root/.cache/pip pip install -c constraints.txt '.[api]' ./models/decoder/weights flower

FROM source AS build-worker
ARG TORCH_INDEX_URL=
# `worker,minilm` for workers that are to embed texts again (the options embed and round_trip).
ARG WORKER_EXTRAS=worker
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -c constraints.txt ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} torch \
    && pip install -c constraints.txt ".[${WORKER_EXTRAS}]" ./models/decoder/weights ./models/decoder/native

FROM python:${PYTHON_VERSION}-slim AS runtime
RUN useradd --uid 10001 --create-home unembed
ENV PATH=/opt/unembed/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER unembed
WORKDIR /home/unembed

FROM runtime AS worker
COPY --from=build-worker /opt/unembed /opt/unembed
CMD ["unembed", "worker"]

# Last, so that it is what a build without --target gives.
FROM runtime AS api
COPY --from=build-api /opt/unembed /opt/unembed
EXPOSE 8765
CMD ["unembed", "serve"]
