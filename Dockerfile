# Three images of one source:
#   api          the api and the courier; no torch        docker build --target api .
#   worker       torch with CUDA                          docker build --target worker .
#   worker-cpu   torch without it                         docker build --target worker-cpu .
# The same names are the containers' commands: api, worker, courier, keys …
# A registry's digest pins the base to the byte: --build-arg PYTHON=python:3.11-slim-bookworm@sha256:…
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS base
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends tini \
 && rm -rf /var/lib/apt/lists/*
# /data is shared by all parts; /cache keeps downloaded weights and what the GPU's compilers made.
RUN useradd --uid 10001 --create-home --home-dir /home/klein klein \
 && install -d -o klein -g klein /data /cache
ENV PATH=/opt/klein/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    KLEIN_HOST=0.0.0.0 \
    KLEIN_METRICS_PORT=9100 \
    KLEIN_DATA=/data \
    HF_HOME=/cache/huggingface \
    TORCHINDUCTOR_CACHE_DIR=/cache/inductor \
    TRITON_CACHE_DIR=/cache/triton \
    CUDA_CACHE_PATH=/cache/cuda

# The virtual environment is made where it will lie, by the base's pip: the images need none of their own.
FROM base AS build
WORKDIR /src
RUN python3 -m venv --without-pip /opt/klein
COPY pyproject.toml requirements.lock ./
RUN python3 -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
e = p["optional-dependencies"]; \
open("/api.txt", "w").write("\n".join(p["dependencies"] + e["telemetry"])); \
open("/worker.txt", "w").write("\n".join(e["worker"]))'
RUN pip --python /opt/klein/bin/python install --no-cache-dir --constraint requirements.lock \
      --requirement /api.txt

FROM build AS build-worker
RUN pip --python /opt/klein/bin/python install --no-cache-dir --constraint requirements.lock \
      --requirement /worker.txt

FROM build AS build-worker-cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN PIP_EXTRA_INDEX_URL="$TORCH_INDEX" pip --python /opt/klein/bin/python install --no-cache-dir \
      --constraint requirements.lock --requirement /worker.txt

# klein's own code comes last and apart: a change of it is a small layer upon gigabytes that stay.
FROM build AS code
RUN pip --python /opt/klein/bin/python install --no-cache-dir "setuptools==80.9.0"
COPY . .
RUN pip --python /opt/klein/bin/python install --no-cache-dir --no-deps --no-build-isolation \
      --prefix /code .

FROM base AS api
COPY --from=build /opt/klein /opt/klein
COPY --from=code /code /opt/klein
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8000 9100
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/livez', timeout=4)"]
# tini is process 1: it hands signals on and reaps; `klein` becomes the process that it names.
ENTRYPOINT ["tini", "--", "klein"]
CMD ["api"]

FROM base AS worker-base
USER 10001
WORKDIR /data
VOLUME ["/data", "/cache"]
EXPOSE 9100
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:9100/metrics', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "--", "klein"]
CMD ["worker"]

FROM worker-base AS worker-cpu
COPY --from=build-worker-cpu /opt/klein /opt/klein
COPY --from=code /code /opt/klein

FROM worker-base AS worker
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build-worker /opt/klein /opt/klein
COPY --from=code /code /opt/klein
