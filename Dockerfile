# weakseg-bench for CPUs. With GPUs: --build-arg TORCH_INDEX=https://pypi.org/simple (PyPI's torch brings CUDA, some GB).

FROM python:3.12-slim-bookworm AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /src
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY benchmark benchmark
COPY methods methods
COPY datasets datasets
COPY results/published results/published
COPY results/reference results/reference
# of one version, pip takes the one with a local label: 2.x+cpu before 2.x
RUN pip wheel --no-cache-dir --wheel-dir /wheels --extra-index-url "$TORCH_INDEX" .

FROM python:3.12-slim-bookworm
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index /wheels/*.whl \
    && useradd --create-home --uid 1000 bench
USER 1000
WORKDIR /home/bench
ENV BENCHMARK_DATA=/data MPLCONFIGDIR=/tmp/matplotlib
ENTRYPOINT ["python", "-m", "benchmark"]
CMD ["--help"]
