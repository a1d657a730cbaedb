# The image of carla-rl-serving.
#
#   docker build -t your-registry/carla-rl-serving:latest .
#   docker build --target ort -t your-registry/carla-rl-serving:ort .
#
# The first is static and holds the program, the demo policy and no shell. The
# second also runs policies on ONNX Runtime (docs/gpu.md) and brings a C library.
#
# Build arguments, all optional:
#   BUILD_IMAGE            image with Go 1.26; git in it gives the version
#   BASE                   what the program is put on; scratch needs no registry
#   VERSION, COMMIT, DATE  default: those of the clone
#   GOPROXY                module proxy; `off` with a vendor folder in the clone
#   GOCACHE                where Go keeps what it compiled, for a cache that is mounted
#   ONNXRUNTIME            for ort: a wheel, library or folder in dist/onnxruntime
#   BASE_ORT               for ort: an image that has a C library of its own
#
# There is no `# syntax=` line and no --mount, so that BuildKit, buildah and the
# classic builder all build it, with no other image than BUILD_IMAGE.
ARG BUILD_IMAGE=golang:1.26
ARG BASE=scratch
ARG BASE_ORT=scratch

# Builds on the processor at hand for that of the image: BuildKit and buildah
# set BUILDPLATFORM, the classic builder does not.
FROM --platform=${BUILDPLATFORM:-linux/amd64} ${BUILD_IMAGE} AS build
WORKDIR /src
ARG GOPROXY
ARG GOCACHE
COPY go.mod go.sum ./
RUN [ "$GOPROXY" = off ] || go mod download
COPY . .
ARG TARGETARCH
ARG VERSION
ARG COMMIT
ARG DATE
RUN go run ./tools/image/rootfs -out /image -arch "$TARGETARCH" -version "$VERSION" -commit "$COMMIT" -date "$DATE"

FROM ${BASE} AS carla-rl
COPY --from=build /image/ /
# Only the arguments reach these labels; `carla-rl version` and the list of
# parts in /usr/share/sbom know the clone's facts as well. A time that is not
# known is the beginning of time, as the label must be one.
ARG VERSION=unknown
ARG COMMIT=unknown
ARG DATE=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="carla-rl-serving" \
      org.opencontainers.image.description="A server for trained driving and robot policies" \
      org.opencontainers.image.url="https://github.com/carla-rl/carla-rl-serving" \
      org.opencontainers.image.source="https://github.com/carla-rl/carla-rl-serving" \
      org.opencontainers.image.documentation="https://github.com/carla-rl/carla-rl-serving/tree/main/docs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$COMMIT" \
      org.opencontainers.image.created="$DATE"
ENV PATH=/usr/local/bin HOST=0.0.0.0 ARTIFACT_DIR=/app/artifacts
WORKDIR /app
USER 1000:1000
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/carla-rl"]
CMD ["serve"]

# cgo needs a compiler for the processor of the image, so this stage runs on it.
# The classic builder builds each stage, asked for or not, and sets no
# TARGETARCH: for it this one is empty unless --build-arg TARGETARCH is given.
FROM ${BUILD_IMAGE} AS build-ort
WORKDIR /src
COPY . .
ARG GOPROXY
ARG GOCACHE
ARG TARGETARCH
ARG VERSION
ARG COMMIT
ARG DATE
ARG ONNXRUNTIME=pypi
ARG BASE_ORT
RUN if [ -z "$TARGETARCH" ]; then mkdir /image; else \
      [ "$BASE_ORT" != scratch ] || libc=-libc; \
      go run ./tools/image/rootfs -out /image -arch "$TARGETARCH" -version "$VERSION" -commit "$COMMIT" -date "$DATE" \
        -onnxruntime "$ONNXRUNTIME" $libc; \
    fi

FROM ${BASE_ORT} AS ort
COPY --from=build-ort /image/ /
ARG VERSION=unknown
ARG COMMIT=unknown
ARG DATE=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="carla-rl-serving" \
      org.opencontainers.image.description="A server for trained driving and robot policies, with ONNX Runtime" \
      org.opencontainers.image.url="https://github.com/carla-rl/carla-rl-serving" \
      org.opencontainers.image.source="https://github.com/carla-rl/carla-rl-serving" \
      org.opencontainers.image.documentation="https://github.com/carla-rl/carla-rl-serving/tree/main/docs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$COMMIT" \
      org.opencontainers.image.created="$DATE"
ENV PATH=/usr/local/bin HOST=0.0.0.0 ARTIFACT_DIR=/app/artifacts CARLA_RL_ONNXRUNTIME_LIB=/usr/local/lib/onnxruntime
WORKDIR /app
USER 1000:1000
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/carla-rl"]
CMD ["serve"]

# What is built without --target.
FROM carla-rl
