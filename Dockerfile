# Builds four images from one source:
#   api          API and courier, without torch           docker build --target api .
#   worker       torch with CUDA                          docker build --target worker .
#   worker-cpu   torch without CUDA                       docker build --target worker-cpu .
#   worker-rocm  torch for GPUs of AMD                    docker build --target worker-rocm .
# The command of a container is a command of klein: api, worker, courier, keys …
# renovate.json has Renovate add the digest of the base image (…@sha256:…) and keep it up to date.
ARG PYTHON=python:3.14-slim-trixie

FROM ${PYTHON} AS base
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends tini \
 && rm -rf /var/lib/apt/lists/*
# All parts share /data. /cache keeps downloaded weights and compiled GPU code.
RUN useradd --uid 10001 --create-home --home-dir /home/klein klein \
 && install -d -o klein -g klein /data /cache

# The base without pip, documentation and caches. Deleting them in a layer on top would free no space.
FROM base AS trimmed
RUN mkdir /run-time \
 && tar -C / --create --one-file-system --exclude=./run-time --exclude=./proc --exclude=./sys --exclude=./root \
      --exclude=./opt --exclude=./var/cache --exclude=./var/log --exclude=./var/lib/apt \
      --exclude=./usr/share/doc --exclude=./usr/share/info --exclude=./usr/share/locale --exclude=./usr/share/man \
      --exclude=./usr/lib/python3/dist-packages --exclude='./usr/local/lib/python3*/site-packages' --exclude='./usr/*bin/pip*' \
      --exclude='./usr/local/bin/pip*' --exclude='*.a' . \
  | tar -C /run-time --extract \
 && cd /run-time \
 && install -d proc sys opt var/log var/cache/apt/archives/partial var/lib/apt/lists/partial \
 && install -d -m 0700 root

FROM scratch AS run-time
# The release workflow adds version, revision and source.
LABEL org.opencontainers.image.title="klein" \
      org.opencontainers.image.description="Self-hosted inference server for FLUX.2 [klein] 4B" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=trimmed /run-time /
ENV PATH=/opt/klein/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    KLEIN_HOST=0.0.0.0 \
    KLEIN_METRICS_PORT=9100 \
    KLEIN_DATA=/data \
    HF_HOME=/cache/huggingface \
    TORCHINDUCTOR_CACHE_DIR=/cache/inductor \
    TRITON_CACHE_DIR=/cache/triton \
    CUDA_CACHE_PATH=/cache/cuda

# The pip of the base creates the virtual environment at its final path, so the images need no pip.
FROM base AS build
WORKDIR /src
RUN python3 -m venv --without-pip /opt/klein
COPY requirements requirements
# By hash, without the embedded server of `klein up`. Here Valkey is a container of its own.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/klein/bin/python install --require-hashes --no-deps --requirement requirements/api.lock

FROM build AS build-worker
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/klein/bin/python install --require-hashes --no-deps --requirement requirements/worker.lock

FROM build AS build-worker-cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY requirements.lock ./
# One index at a time: torch alone comes from PyTorch's, so no other package can come from there.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/klein/bin/python install --constraint requirements.lock --no-deps --index-url "$TORCH_INDEX" torch \
 && pip --python /opt/klein/bin/python install --require-hashes --no-deps --requirement requirements/worker-cpu.lock

FROM build AS build-worker-rocm
ARG TORCH_INDEX=https://download.pytorch.org/whl/rocm7.1
COPY requirements.lock ./
# torch and its libraries of ROCm come from PyTorch's index alone, all other packages by hash.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/klein/bin/python install --require-hashes --no-deps --requirement requirements/worker-cpu.lock \
 && pip --python /opt/klein/bin/python install --constraint requirements.lock --index-url "$TORCH_INDEX" torch

# klein's code comes last, so that a change is a small layer on top of unchanged gigabytes.
FROM build AS code
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/klein/bin/python install "setuptools==80.9.0"
COPY . .
RUN pip --python /opt/klein/bin/python install --no-cache-dir --no-deps --no-build-isolation \
      --prefix /code .

# The courier is in worker/. The image of the API does not need the built-in model there.
FROM code AS code-api
RUN rm -r /code/lib/python3*/site-packages/worker/weights/builtin*

FROM run-time AS api
COPY --from=build /opt/klein /opt/klein
COPY --from=code-api /code /opt/klein
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8000 9100
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/livez', timeout=4)"]
# tini is process 1. It forwards signals and reaps children. `klein` replaces itself by the process that it starts.
ENTRYPOINT ["tini", "--", "klein"]
CMD ["api"]

FROM run-time AS worker-base
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

FROM worker-base AS worker-rocm
USER root
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
USER 10001
COPY --from=build-worker-rocm /opt/klein /opt/klein
COPY --from=code /code /opt/klein

FROM worker-base AS worker
# torch.compile uses Triton, which needs a C compiler.
USER root
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
USER 10001
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build-worker /opt/klein /opt/klein
COPY --from=code /code /opt/klein
