# syntax=docker/dockerfile:1
FROM python:3.11-slim

# Where torch comes from: empty is pip's own index, whose wheel for Linux brings CUDA. docker-compose.yml names PyTorch's
# index of the CPU build for all but the GPU's image.
ARG TORCH_INDEX=

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

WORKDIR /opt/budget-hpo

# torch alone and without its dependencies: they come from the package index, not from this one. It is a layer of its
# own because it is most of the image and changes least.
COPY constraints.txt ./
RUN pip install --no-deps ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} --constraint constraints.txt torch

COPY pyproject.toml README.md LICENSE ./
COPY budgets budgets
COPY studies studies
COPY hpo hpo
RUN pip install --constraint constraints.txt '.[examples]'

# The owner of /var/lib/hpo becomes the owner of a new volume there. Studies and objectives of one's own go to /work.
RUN useradd --create-home --uid 1000 hpo \
    && install --directory --owner=hpo --group=hpo /var/lib/hpo /work
ENV HPO_HOME=/var/lib/hpo
USER hpo
WORKDIR /work

ENTRYPOINT ["hpo"]
CMD ["--help"]
