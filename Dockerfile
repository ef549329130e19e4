# Wenti on a machine with NVIDIA GPUs, serving its deployments. A recipe: nobody has built it yet.
#
#   docker build -t wenti .
#   docker run --gpus all -e PREFECT_API_URL=http://HOST:4200/api \
#     -v "$PWD/data:/wenti/data" -v "$PWD/store:/wenti/wenti-store" wenti
#
# The driver is the host's, which NVIDIA's container toolkit puts in; CUDA's libraries come from the
# package registry with Wenti.
FROM python:3.11-slim-bookworm

# `utility` is what `wenti doctor` and every run ask the driver with.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc g++ \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /wenti
COPY . .
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --constraint constraints-gpu.txt '.[gpu]'

RUN useradd --create-home wenti && mkdir wenti-store && chown -R wenti /wenti
USER wenti
CMD ["/venv/bin/wenti", "serve"]
