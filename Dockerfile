# DiffPIR-on-Ray: driver, Ray head and Ray worker alike. Needs the NVIDIA container runtime for GPUs.
#
#   docker build -t diffpir-on-ray .
#   docker build -t diffpir-on-ray:cpu --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu .
#   docker run --gpus all -v "$PWD:/work" -w /work diffpir-on-ray run job.yaml
#
# Checkpoints are not part of the image: mount them, or name a URI, which is cached in /cache.
FROM python:3.11-slim-bookworm

# PyTorch's index decides the variant: CUDA libraries come with the wheel, the driver with the host.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cu128

RUN useradd --create-home --uid 1000 diffpir \
    && mkdir /cache && chown diffpir /cache
ENV DIFFPIR_CACHE=/cache \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1
VOLUME /cache

WORKDIR /opt/diffpir
# The large, rarely changing layer first.
COPY constraints.txt ./
RUN pip install --constraint constraints.txt --index-url "$TORCH_INDEX" \
    --extra-index-url https://pypi.org/simple torch

COPY pyproject.toml README.md LICENSE ./
COPY diffpir diffpir
COPY manifests manifests
COPY pipeline pipeline
COPY jobs jobs
RUN pip install --constraint constraints.txt ".[demo]"

USER diffpir
ENTRYPOINT ["diffpir"]
CMD ["--help"]
