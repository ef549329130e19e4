# Wenti on a machine with NVIDIA GPUs, serving its deployments. A recipe: nobody has built it yet.
#
#   docker build -t wenti .
#   docker run --gpus all -e PREFECT_API_URL=http://HOST:4200/api \
#     -v "$PWD/data:/wenti/data" -v "$PWD/store:/wenti/wenti-store" wenti
FROM nvidia/cuda:11.8.0-cudnn8-runtime-ubuntu22.04

RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc g++ python3.11 python3.11-dev python3.11-venv \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /wenti
COPY . .
# Both Paddle packages install the same module, so that the one for the CPU goes first.
RUN python3.11 -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --constraint constraints.txt . \
    && /venv/bin/pip uninstall --yes paddlepaddle \
    && /venv/bin/pip install --no-cache-dir paddlepaddle-gpu==2.6.2

RUN useradd --create-home wenti && mkdir wenti-store && chown -R wenti /wenti
USER wenti
CMD ["/venv/bin/wenti", "serve"]
