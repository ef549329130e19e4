# Serve Wenti's deployments on a machine with NVIDIA GPUs. This image has never been built.
#
#   docker build -t wenti .
#   docker run --gpus all -e PREFECT_API_URL=http://HOST:4200/api \
#     -v "$PWD/data:/wenti/data" -v "$PWD/store:/wenti/wenti-store" wenti
#
# NVIDIA's container toolkit provides the host's driver; the CUDA libraries are installed with Wenti
# from the package registry.
FROM python:3.11-slim-bookworm

# `utility` provides NVML, which `wenti doctor` and every run use to query the driver.
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
