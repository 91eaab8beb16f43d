# Both programs in one image, for linux/amd64 and linux/arm64: see docs/images.md.

# What compiles: an image with Go in /usr/local/go and the certificates of public CAs.
# Nothing else of it is used, not even a shell, so where no registry can be reached the
# machine's own Go can take its place.
ARG BUILDER=docker.io/library/golang:1.26.8

# Go cross-compiles, so what compiles always runs on the building machine's own platform.
FROM --platform=$BUILDPLATFORM ${BUILDER} AS build
WORKDIR /src
COPY . .
ARG TARGETARCH
ARG VERSION=unknown
# Without a shell, RUN expands no argument, but ENV does. The flags are those of "make
# build", so that anyone with Go can compile the same bytes and compare.
ENV CGO_ENABLED=0 GOOS=linux GOARCH=${TARGETARCH} GOTOOLCHAIN=local \
    GOCACHE=/root/.cache/go-build GOMODCACHE=/go/pkg/mod \
    GOFLAGS="-trimpath -buildvcs=false '-ldflags=-s -w -X github.com/ebbtide/ebbtide/cmd/internal/process.version=${VERSION}'"
RUN ["/usr/local/go/bin/go", "build", "-o", "/out/", "./cmd/ebbtide-agent", "./cmd/ebbtide-placement"]

FROM scratch
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Ebbtide" \
      org.opencontainers.image.description="Moves the pods off a spot node in time, and keeps critical ones on long-lived nodes" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/ebbtide/ebbtide" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/ /
# Nobody's number: there is no file of users, and the kubelet can see that it is not root.
USER 65532:65532
# The chart always names the program; this one is for whoever tries the image by hand.
ENTRYPOINT ["/ebbtide-agent"]
