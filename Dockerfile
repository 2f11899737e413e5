# syntax=docker/dockerfile:1
# One image for each service and one for the operator's tool: docker build --target ingest-api .

# The compiler of rust-toolchain.toml, on the Debian of the runtime below, so that glibc fits.
FROM rust:1.95.0-bookworm AS chef
# Otherwise rustup fetches what rust-toolchain.toml lists for developers.
ENV RUSTUP_TOOLCHAIN=1.95.0
# The runtime has no zlib. (It has OpenSSL, which librdkafka is linked with; its headers are in this image.)
ENV LIBZ_SYS_STATIC=1
RUN cargo install --locked cargo-chef --version 0.1.77
WORKDIR /src

FROM chef AS plan
COPY . .
RUN cargo chef prepare --recipe-path recipe.json

FROM chef AS build
COPY --from=plan /src/recipe.json recipe.json
# Everything that is not ours, in a layer of its own: built again only where Cargo.lock, a manifest or a
# feature has changed.
RUN cargo chef cook --release --locked --bins \
    -p ingest-api -p click-consumer -p analytics-api -p adctl
COPY . .
RUN cargo build --release --locked --bins \
    -p ingest-api -p click-consumer -p analytics-api -p adctl

# No shell, no package manager: glibc, libgcc, OpenSSL, certificates and a user without rights.
FROM gcr.io/distroless/cc-debian12:nonroot AS runtime
LABEL org.opencontainers.image.licenses="Apache-2.0"
# A number, so that Kubernetes can tell that it is not root.
USER 65532:65532

FROM runtime AS ingest-api
COPY --from=build /src/target/release/ingest-api /usr/local/bin/
EXPOSE 8081 9081
HEALTHCHECK --interval=10s --timeout=10s --start-period=2m --start-interval=1s CMD ["/usr/local/bin/ingest-api", "--ready"]
ENTRYPOINT ["/usr/local/bin/ingest-api"]

FROM runtime AS click-consumer
COPY --from=build /src/target/release/click-consumer /usr/local/bin/
EXPOSE 9083
HEALTHCHECK --interval=10s --timeout=10s --start-period=2m --start-interval=1s CMD ["/usr/local/bin/click-consumer", "--ready"]
ENTRYPOINT ["/usr/local/bin/click-consumer"]

FROM runtime AS analytics-api
COPY --from=build /src/target/release/analytics-api /usr/local/bin/
EXPOSE 8082 9082
HEALTHCHECK --interval=10s --timeout=10s --start-period=2m --start-interval=1s CMD ["/usr/local/bin/analytics-api", "--ready"]
ENTRYPOINT ["/usr/local/bin/analytics-api"]

# Last, so that a build without --target makes what can do no harm when it is run.
FROM runtime AS adctl
# The sample, for `adctl replay` where nothing can be mounted.
COPY data/*.csv /data/
COPY --from=build /src/target/release/adctl /usr/local/bin/
ENTRYPOINT ["/usr/local/bin/adctl"]
