# Everything here needs Go and make, and nothing else where its line does not say so; the tools
# are built from tools/go.mod.
SHELL := /bin/sh
.DEFAULT_GOAL := help

GO      ?= go
LINT    := bin/golangci-lint
CRDGEN  := bin/controller-gen
VULNCHECK := bin/govulncheck
HELM    := bin/helm
CHARTS  := bin/helm-unittest
CHARTMD := bin/helm-docs
PROMTOOL := bin/promtool
BIN     ?= bin
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# CGO_ENABLED=0 below: without cgo, vet, lint, the demo, the benchmark and the agent
# share one build cache; only the race detector needs a cache, and a C compiler, of its own.

# Packages whose tests run a control plane want a core each: two at a time.
TEST_PACKAGES_AT_ONCE ?= 2
TEST_TIMEOUT          ?= 30m

# In the order in which the values stand, and without a line of the generator's own.
CHARTMD_FLAGS := --chart-search-root charts --sort-values-order file --skip-version-footer --log-level warning

.PHONY: help build demo test check fmt lint vet tidy house chart rules generate generated bench e2e image image-test sbom vuln clean

help: ## Print this list.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build both programs into bin/.
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X github.com/ebbtide/ebbtide/cmd/internal/process.version=$(VERSION)' -o $(BIN)/ ./cmd/...

demo: ## A spot notice empties a node of a real Kubernetes, before your eyes.
	CGO_ENABLED=0 $(GO) run ./demo

test: ## Run every test, on a real control plane where that matters.
	CGO_ENABLED=0 $(GO) -C tools test ./...
	$(GO) test -race -p $(TEST_PACKAGES_AT_ONCE) -timeout $(TEST_TIMEOUT) ./...

check: lint vet tidy generated chart rules house ## Everything short of the tests: format, lint, vet, modules, generated files, chart, alerts, house rules.

fmt: $(LINT) ## Format the Go files.
	$(LINT) fmt

lint: $(LINT) ## Formatting (no difference allowed) and lint.
	$(LINT) fmt --diff
	CGO_ENABLED=0 $(LINT) run ./...

# The agent, the lab and the demo must also build on macOS; a cross-build needs no C compiler.
vet: ## go vet, for Linux and for macOS.
	CGO_ENABLED=0 $(GO) vet ./...
	GOOS=linux CGO_ENABLED=0 $(GO) vet -tags e2e_nodes ./e2e/nodes/...
	GOOS=linux CGO_ENABLED=0 $(GO) vet -tags e2e_image ./e2e/image
	GOOS=darwin CGO_ENABLED=0 $(GO) vet ./...

tidy: ## go.mod and go.sum hold what is needed, and nothing else.
	$(GO) mod tidy -diff
	$(GO) -C tools mod tidy -diff
	$(GO) -C e2e/kube mod tidy -diff
	$(GO) -C e2e/nodes/coredns mod tidy -diff

generate: $(CRDGEN) $(CHARTMD) ## Write what is generated: deep copies, CRDs, the chart's README, the tables in docs/.
	$(CRDGEN) object paths=./api/...
	$(CRDGEN) crd paths=./api/... output:crd:dir=charts/ebbtide/crds
	$(CHARTMD) $(CHARTMD_FLAGS)
	CGO_ENABLED=0 $(GO) test -p 1 ./cmd/ebbtide-agent ./cmd/ebbtide-placement -run ThePageOf -update

# The underscore hides the copy from ./... of the go command.
generated: $(CRDGEN) $(CHARTMD) ## What is generated is what it is made of (no difference allowed).
	@rm -rf out/_generated
	$(CRDGEN) object paths=./api/... output:object:dir=out/_generated/api/v1alpha1
	$(CRDGEN) crd paths=./api/... output:crd:dir=out/_generated/crds
	diff -u api/v1alpha1/zz_generated.deepcopy.go out/_generated/api/v1alpha1/zz_generated.deepcopy.go
	diff -ru charts/ebbtide/crds out/_generated/crds
	$(CHARTMD) $(CHARTMD_FLAGS) --dry-run | diff -u charts/ebbtide/README.md -

chart: $(HELM) $(CHARTS) ## The chart: its values against their schema, every template against its tests.
	$(HELM) lint --strict --quiet charts/ebbtide
	$(CHARTS) charts/ebbtide

rules: $(PROMTOOL) ## The alerts of the chart: promtool's check, and their tests.
	$(PROMTOOL) check rules charts/ebbtide/rules/*.yaml
	$(PROMTOOL) test rules charts/ebbtide/rules/tests/*.yaml

house: ## The rules of the house that no linter knows.
	$(GO) test .

bench: ## Ebbtide beside kubectl drain, in figures (40 minutes; go run ./bench --help for parts of it).
	CGO_ENABLED=0 $(GO) run ./bench

# Its tests hide behind a build tag, so that ./... needs neither root nor Linux.
E2E_TIMEOUT ?= 50m
E2E_INSTALL ?= 1
e2e: ## Real nodes: kubelet, containerd, the image, the chart (Linux, as root; E2E_INSTALL=0 installs no Debian packages).
	@test "$$(uname)" = Linux || { echo "Real nodes are made of Linux namespaces: make e2e needs Linux." >&2; exit 1; }
	EBBTIDE_E2E_INSTALL=$(E2E_INSTALL) CGO_ENABLED=0 $(GO) test -tags e2e_nodes -count=1 -v -timeout $(E2E_TIMEOUT) ./e2e/nodes/...

# The image has the age and the commit of its source, and no clock's.
IMAGE    ?= ghcr.io/ebbtide/ebbtide
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
# The image to compile in, if not the Dockerfile's; "local" is this machine's Go.
BUILDER  ?=

image: ## Build the image into out/image/, with buildah as root; or into docker's images, where there is docker only.
	@if command -v buildah >/dev/null; then \
		CGO_ENABLED=0 $(GO) run ./e2e/image/imagebuild -name '$(IMAGE)' -version '$(VERSION)' -revision '$(REVISION)' \
			-created $(SOURCE_DATE_EPOCH) -builder '$(BUILDER)'; \
	else \
		docker build --tag '$(IMAGE):$(VERSION)' --build-arg VERSION='$(VERSION)' --build-arg REVISION='$(REVISION)' \
			--build-arg SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) $(if $(BUILDER),--build-arg BUILDER='$(BUILDER)') . && \
		docker image inspect --format '{{index .RepoTags 0}}: {{.Size}} bytes unpacked' '$(IMAGE):$(VERSION)'; \
	fi

image-test: ## Build the image and prove what docs/images.md promises (Linux, root, buildah).
	CGO_ENABLED=0 $(GO) -C tools test ./sbom
	CGO_ENABLED=0 $(GO) test -count=1 -tags e2e_image -timeout $(TEST_TIMEOUT) -v ./e2e/image

sbom: out/image/image.json ## Write what the image in out/image/ is made of to out/sbom/, in CycloneDX.
	CGO_ENABLED=0 $(GO) -C tools run ./sbom -image ../out/image -to ../out/sbom

out/image/image.json:
	$(MAKE) image

# "Nothing found" and "nobody asked" are different: without the database this fails,
# unless WITHOUT_DATABASE=pass lets it off with a warning.
VULN_DB          ?= https://vuln.go.dev
WITHOUT_DATABASE ?= fail

vuln: $(VULNCHECK) ## Look for known vulnerabilities in what the programs call.
	@if $(VULNCHECK) -db '$(VULN_DB)' -mode query -json stdlib@v1.26.0 >/dev/null; then \
		CGO_ENABLED=0 $(VULNCHECK) -db '$(VULN_DB)' ./cmd/...; \
	else \
		echo 'NOT CHECKED for vulnerabilities: $(VULN_DB) did not answer.' >&2; \
		[ '$(WITHOUT_DATABASE)' = pass ]; \
	fi

clean: ## Remove what was built here (bin/, out/).
	rm -rf bin out

$(LINT): tools/go.mod tools/go.sum
	$(GO) -C tools build -o ../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@touch $@

$(VULNCHECK): tools/go.mod tools/go.sum
	CGO_ENABLED=0 $(GO) -C tools build -o ../$@ golang.org/x/vuln/cmd/govulncheck
	@touch $@

$(CRDGEN): tools/go.mod tools/go.sum
	$(GO) -C tools build -o ../$@ sigs.k8s.io/controller-tools/cmd/controller-gen
	@touch $@

$(HELM): tools/go.mod tools/go.sum
	$(GO) -C tools build -ldflags '-s -w' -o ../$@ helm.sh/helm/v4/cmd/helm
	@touch $@

$(CHARTS): tools/go.mod tools/go.sum
	$(GO) -C tools build -ldflags '-s -w' -o ../$@ github.com/helm-unittest/helm-unittest/cmd/helm-unittest
	@touch $@

$(CHARTMD): tools/go.mod tools/go.sum
	$(GO) -C tools build -ldflags '-s -w' -o ../$@ github.com/norwoodj/helm-docs/cmd/helm-docs
	@touch $@

# Without the discovery of targets in two dozen clouds, which the rules have no use for.
$(PROMTOOL): tools/go.mod tools/go.sum
	CGO_ENABLED=0 $(GO) -C tools build -tags remove_all_sd -ldflags '-s -w' -o ../$@ github.com/prometheus/prometheus/cmd/promtool
	@touch $@
