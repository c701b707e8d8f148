# One image for every process; docker-compose.yml and deploy/kubernetes say which command each runs.
# The exact tag makes two builds of one commit alike. Raise it with every release: an old base keeps its old faults.
ARG BASE=python:3.12.13-slim-bookworm

FROM ${BASE} AS build
WORKDIR /build
COPY requirements.lock ./
# Hashes are checked, and bytecode is made: a container that starts compiles nothing, and could keep nothing.
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md celeryconfig.py ./
COPY api api
COPY config config
COPY db db
COPY ops ops
COPY worker worker
# Installed as a package, which is how celery finds the project's own commands. What installs, what tests, and sources in
# C are left behind; so are the languages of a package that makes examples up, which nothing here loads.
RUN /venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
    && find /venv/lib/python3.*/site-packages -depth \( -path '*/site-packages/pip*' \
        -o -path '*/site-packages/setuptools*' -o -name '_distutils_hack' -o -name 'distutils-precedence.pth' -o -name '*.c' -o -path '*/Crypto/SelfTest' \
        -o -path '*/cytoolz/tests' -o -path '*/toolz/tests' -o -path '*/regex/tests' -o -path '*/parsimonious/tests' \
        -o -path '*/faker/providers/*/[a-z]*_[A-Z]*' -not -path '*/en_US*' \) -exec rm -rf {} + \
    && rm -f /venv/bin/pip*

FROM ${BASE}
ARG VERSION=unreleased
ARG REVISION=unknown
LABEL org.opencontainers.image.title="balance-sync" \
    org.opencontainers.image.description="Keeps a Postgres table of USDT and native balances fresh, and serves it" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
# Fixed numbers, so that whoever mounts a file knows who has to be able to read it.
RUN groupadd --system --gid 10001 app \
    && useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin app
COPY --from=build /venv /venv
WORKDIR /app
# For alembic, which looks for its settings in the folder that it is started in.
COPY pyproject.toml ./
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
CMD ["celery", "-A", "worker", "worker"]
