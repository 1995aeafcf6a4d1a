# The gateway as an image: the binary, the certificate roots it verifies
# upstreams by, and nothing else of ours.
#
#   docker build -t knoxcall .            compiles in the first stage, in minutes
#   make image                            with whatever builder is there, and checks the result
#
# BINARY names one in the build context that is compiled already: scripts/image
# gives its own. The last stage runs no command, so that its base may be one
# without a shell; it needs glibc and libstdc++.

ARG BUILD_BASE=debian:bookworm
ARG RUNTIME_BASE=debian:bookworm-slim

FROM ${BUILD_BASE} AS build
WORKDIR /src
ENV PATH=/root/.cargo/bin:$PATH

RUN [ -s /etc/ssl/certs/ca-certificates.crt ] || \
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends ca-certificates; }

# A layer of its own: it changes with the toolchain, not with the code.
ARG BINARY=
COPY rust-toolchain.toml ./
COPY scripts/bootstrap scripts/
RUN [ -n "$BINARY" ] || scripts/bootstrap build

COPY . .
RUN [ -n "$BINARY" ] || cargo build --locked --release -p knoxcall
RUN install -D -m 0755 "${BINARY:-target/release/knoxcall}" /image/usr/local/bin/knoxcall && \
    install -D -m 0644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt

FROM ${RUNTIME_BASE}
LABEL org.opencontainers.image.title="knoxcall" \
      org.opencontainers.image.description="An open, self-hosted credential gateway" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /image/ /
ENV KNOXCALL_CONFIG=/etc/knoxcall/gateway.yaml
# By number: it needs no entry in the base's /etc/passwd, and Kubernetes can
# see that it is not root.
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGTERM
# Asks KNOXCALL_HEALTH_URL, which is http://127.0.0.1:9901/healthz where not set.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["/usr/local/bin/knoxcall", "health"]
ENTRYPOINT ["/usr/local/bin/knoxcall"]
CMD ["serve"]
