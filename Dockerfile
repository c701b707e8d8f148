# One image for every process; docker-compose.yml says which command each runs.
FROM python:3.12-slim AS build
WORKDIR /app
COPY requirements.lock .
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes -r requirements.lock

FROM python:3.12-slim
# Nothing of the build remains but the packages; the processes run as nobody in particular.
RUN useradd --system --uid 10001 --no-create-home app
COPY --from=build /venv /venv
WORKDIR /app
COPY pyproject.toml celeryconfig.py ./
COPY config config
COPY db db
COPY worker worker
COPY api api
# Without this celery would not find the project's own commands.
RUN /venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation --editable .
ENV PATH=/venv/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
CMD ["celery", "-A", "worker", "worker"]
