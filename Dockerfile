# DiffPIR-on-Ray: driver, Ray head and Ray worker alike. Needs the NVIDIA container runtime for GPUs.
#
#   docker build -t diffpir-on-ray .
#   docker build -t diffpir-on-ray:cpu --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu .
#   docker run --gpus all -v "$PWD:/work" -v /path/to/models:/models:ro -w /work diffpir-on-ray run job.yaml
#
# Checkpoints are not part of the image: mount them at /models, or name a URI, which is cached in
# /cache. On a cluster, Ray's own tools take the place of the entry point.
#
# To pin the base for good, add the digest that `docker pull` prints: python:...@sha256:...
FROM python:3.11.13-slim-bookworm

# Older KubeRay's probes call wget; the cluster launcher's head reaches workers by ssh and rsync;
# PyTorch on a GPU calls a C compiler for its kernels, and jobs with `compile` one for C++.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ openssh-client rsync wget \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 diffpir \
    && mkdir /cache /models \
    && chown diffpir /cache
# MALLOC_...: as pipeline/flow/resources.py has them where it starts Ray itself.
ENV DIFFPIR_CACHE=/cache \
    MALLOC_ARENA_MAX=1 MALLOC_MMAP_THRESHOLD_=67108864 MALLOC_TRIM_THRESHOLD_=536870912 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1
VOLUME ["/cache", "/models"]

# What is large and changes rarely comes first. PyTorch's index decides the variant: CUDA libraries
# come with the wheel, the driver with the host.
WORKDIR /opt/diffpir
ARG TORCH_INDEX=https://download.pytorch.org/whl/cu128
COPY constraints.txt ./
RUN pip install --constraint constraints.txt --index-url "$TORCH_INDEX" \
    --extra-index-url https://pypi.org/simple torch

# The dependencies, which a change of the code leaves as they are; boto3 for the cluster launcher.
COPY pyproject.toml ./
RUN python -c "import tomllib; \
    project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
    print(*project['dependencies'], *project['optional-dependencies']['demo'], sep='\n')" \
    > requirements.txt \
    && pip install --constraint constraints.txt --requirement requirements.txt boto3

COPY README.md LICENSE ./
COPY diffpir diffpir
COPY manifests manifests
COPY pipeline pipeline
COPY jobs jobs
RUN pip install --no-deps .

# A number, for Kubernetes to see that it is not root's.
USER 1000
WORKDIR /home/diffpir
ENTRYPOINT ["diffpir"]
CMD ["--help"]
