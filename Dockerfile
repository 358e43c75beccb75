FROM python:3.12-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv --without-pip /opt/shop

# The dependencies alone, so that this layer is made again only when they change.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
        print(*project['dependencies'], *project['optional-dependencies']['otel'], sep=chr(10))" > requirements.txt \
    && pip --python /opt/shop install -c constraints.txt -r requirements.txt

COPY README.md LICENSE ./
COPY src src
RUN pip --python /opt/shop install -c constraints.txt .


FROM python:3.12-slim
COPY --from=build /opt/shop /opt/shop
RUN useradd --system --uid 10001 --no-create-home --home-dir /nonexistent shop \
    && install -d -m 700 -o shop /secrets /first-admin
USER shop
ENV PATH=/opt/shop/bin:$PATH PYTHONUNBUFFERED=1 SHOP_HOST=0.0.0.0 SHOP_PORT=4000
EXPOSE 4000
# Whether the process answers; whoever runs the container may ask /health/ready instead, as docker-compose.yml does.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:4000/health/live', timeout=3)"]
# No shell in between, so that SIGTERM reaches the service and it ends the requests it has.
CMD ["shop-api", "serve"]
