# Everything a developer runs. `make help` lists the targets; nothing here needs
# more than Go, and what a target needs beyond it (gcc, qemu, wrk, Python) is
# installed by tools/need when it is missing.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

MODULE := github.com/carla-rl/carla-rl-serving
CACHE  := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/carla-rl

# Pinned tools. A new version means a new folder, so that an old one is never
# taken for the new.
GOLANGCI_LINT_VERSION := v2.15.0
GOLANGCI_LINT := $(CACHE)/tools-golangci-lint-$(GOLANGCI_LINT_VERSION)/golangci-lint
GOVULNCHECK_VERSION := v1.9.0
GOVULNCHECK := $(CACHE)/tools-govulncheck-$(GOVULNCHECK_VERSION)/govulncheck
GITLEAKS_VERSION := v8.30.1
GITLEAKS := $(CACHE)/tools-gitleaks-$(GITLEAKS_VERSION)/gitleaks
NFPM_VERSION := v2.45.0
NFPM := $(CACHE)/tools-nfpm-$(NFPM_VERSION)/nfpm

# What is written into the binary. Only the commit's own facts, so that two
# builds of one commit are the same bytes.
VERSION ?= $(shell git describe --tags --match 'v*' --dirty 2>/dev/null || echo v0.0.0-$$(git rev-parse --short=8 HEAD 2>/dev/null || echo unknown))
COMMIT  ?= $(shell git rev-parse --short=8 HEAD 2>/dev/null || echo unknown)
DATE    ?= $(shell TZ=UTC git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.date=$(DATE)
GOBUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'

# The size budget: a library that does not fit goes behind a build tag. What of
# it each dependency has is in tools/size/budget.json.
SIZE_MAX_MIB := 28
# A Windows executable of the same program is larger.
SIZE_MAX_MIB_WINDOWS := 29
PLATFORMS := linux/amd64 linux/arm64 darwin/arm64 windows/amd64

# How often each fuzz target runs in `make test`.
FUZZ_COUNT ?= 2000

# A test binary is killed when it takes longer than this.
TEST_TIMEOUT ?= 10m
# The same for the tests on a cluster; the first run on a machine builds one.
E2E_TIMEOUT ?= 60m

GOTEST := go run ./tools/testsum --

# The build with ONNX Runtime needs cgo; the library itself is looked for when
# the program runs.
GOBUILD_ORT := CGO_ENABLED=1 go build -tags ort -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'
ORT_PACKAGES := ./internal/ort/... ./internal/conformance/... ./internal/policy/... ./cmd/carla-rl

.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@awk -F ': ' '/^## [a-z0-9-]+: /{printf "  %-14s %s.\n", substr($$1, 4), toupper(substr($$2, 1, 1)) substr($$2, 2)}' training/train.mk

##@ Building

.PHONY: build
build: ## Build bin/carla-rl.
	$(GOBUILD) -o bin/carla-rl ./cmd/carla-rl

.PHONY: build-ort
build-ort: ## Build bin/carla-rl-ort, which also runs policies on ONNX Runtime.
	@tools/need gcc
	$(GOBUILD_ORT) -o bin/carla-rl-ort ./cmd/carla-rl

.PHONY: cross
cross: ## Build every platform of a release, tests included, and check the size budget.
	@for p in $(PLATFORMS); do \
	  os=$${p%/*}; arch=$${p#*/}; ext=; [ $$os = windows ] && ext=.exe; \
	  echo "build $$p"; \
	  GOOS=$$os GOARCH=$$arch $(GOBUILD) -o dist/bin/$$os-$$arch/carla-rl$$ext ./cmd/carla-rl; \
	  [ $$p = "$$(go env GOHOSTOS)/$$(go env GOHOSTARCH)" ] || CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch go vet ./...; \
	done
	@$(MAKE) --no-print-directory size

.PHONY: size
size: ## Hold the binaries that were built, each dependency and each of our packages to the size budget.
	@for f in $$(ls dist/bin/*/carla-rl* 2>/dev/null); do \
	  case $$f in */windows-*) mib=$(SIZE_MAX_MIB_WINDOWS) ;; *) mib=$(SIZE_MAX_MIB) ;; esac; \
	  n=$$(wc -c <$$f); max=$$(( mib << 20 )); \
	  printf '%-40s %5.1f MiB of %d\n' $$f $$(awk "BEGIN{print $$n/1048576}") $$mib; \
	  [ $$n -le $$max ] || { echo "$$f is larger than the budget of $$mib MiB" >&2; exit 1; }; \
	done
	@go run ./tools/size

.PHONY: size-record
size-record: ## Write tools/size/budget.json: what each dependency and package has, and a tenth.
	@go run ./tools/size -record

.PHONY: release
release: ## Write archives of every platform and their SHA256SUMS to dist/.
	rm -rf dist
	@$(MAKE) --no-print-directory cross
	VERSION=$(VERSION) PLATFORMS="$(PLATFORMS)" tools/release

##@ Images

# The name that the deployment guide has.
IMAGE ?= your-registry/carla-rl-serving:latest
IMAGE_ARGS = --build-arg VERSION=$(VERSION) --build-arg COMMIT=$(COMMIT) --build-arg DATE=$(DATE)

.PHONY: image
image: ## Build the image IMAGE with docker, or with buildah and no registry where no daemon answers.
	@if docker info >/dev/null 2>&1; then docker build $(IMAGE_ARGS) -t $(IMAGE) .; else tools/image/build -t $(IMAGE); fi

.PHONY: image-ort
image-ort: ## The same with ONNX Runtime, as IMAGE with the tag ort.
	@if docker info >/dev/null 2>&1; then docker build --target ort --build-arg TARGETARCH=$$(go env GOHOSTARCH) $(IMAGE_ARGS) -t $(IMAGE:%:latest=%:ort) .; \
	else tools/image/build --target ort -t $(IMAGE:%:latest=%:ort); fi

.PHONY: image-test
image-test: ## Build the images on a Docker engine of its own, run them, and check what is in them (root, Linux).
	go vet -tags e2e ./e2e/image
	$(GOTEST) -tags e2e -count=1 -vet=off -timeout $(E2E_TIMEOUT) ./e2e/image

.PHONY: sbom
sbom: build ## Write dist/carla-rl.cdx.json, what is linked into bin/carla-rl, as CycloneDX.
	@mkdir -p dist
	@go run ./tools/image/rootfs -sbom bin/carla-rl -out dist/carla-rl.cdx.json -version $(VERSION) -commit $(COMMIT) -date $(DATE)
	@echo dist/carla-rl.cdx.json

.PHONY: packages
packages: build $(NFPM) ## Write the .deb and .rpm of both Linux architectures to dist/packages/.
	@for arch in amd64 arm64; do \
	  GOOS=linux GOARCH=$$arch $(GOBUILD) -o dist/bin/linux-$$arch/carla-rl ./cmd/carla-rl; \
	done
	NFPM=$(NFPM) VERSION=$(VERSION) HOST_BINARY=bin/carla-rl deploy/packages/build

##@ Checking

.PHONY: check
check: lint test test-ort asm-check cross arm64-test e2e ## All that CI runs, but for what needs torch.

.PHONY: test
test: vet test-race test-unit test-noasm fuzz test-client ## Vet, unit tests with and without the race detector and assembly, fuzz targets, the Python package.

.PHONY: vet
vet:
	go vet ./...
	cd internal/kernel/_asm && go vet ./...

.PHONY: test-unit
test-unit: ## Unit tests, as fast as they go (allocation counts hold only here).
	$(GOTEST) -vet=off -timeout $(TEST_TIMEOUT) $$(go list ./... | grep -v /apptest)

# Arithmetic in one goroutine, for which the race detector takes minutes and sees nothing.
ALONE := ^(TestFamilies|TestSameBitsInEveryBatch)$$

.PHONY: test-race
test-race: ## Unit tests under the race detector.
	@tools/need gcc
	CGO_ENABLED=1 $(GOTEST) -race -vet=off -timeout $(TEST_TIMEOUT) -skip '$(ALONE)' $$(go list ./... | grep -v -e /apptest -e /internal/kernel)

.PHONY: test-noasm
test-noasm: ## The engine's tests with the Go kernels in place of assembly.
	$(GOTEST) -tags noasm -vet=off -timeout $(TEST_TIMEOUT) . ./internal/kernel/... ./internal/plan/... ./internal/policy/... ./internal/conformance/...

.PHONY: test-ort
test-ort: ## Vet and test the build with ONNX Runtime, whose library is put into the cache.
	@tools/need gcc onnxruntime
	CGO_ENABLED=1 go vet -tags ort ./...
	CGO_ENABLED=1 $(GOTEST) -tags ort -vet=off -timeout $(TEST_TIMEOUT) $(ORT_PACKAGES)

.PHONY: fuzz
fuzz: ## Run every fuzz target for a fixed count (FUZZ_COUNT).
	FUZZ_COUNT=$(FUZZ_COUNT) tools/fuzz

.PHONY: mutate
mutate: ## Change every operator of the safety envelope, one at a time: its tests must notice each.
	go run ./tools/mutate ./internal/envelope

# How many random and adversarial inputs `make prove` goes through.
PROOFS ?= 1000000

.PHONY: prove
prove: ## The safety envelope against a million impossible observations, weights and actions (PROOFS).
	$(GOTEST) -count=1 -vet=off -timeout $(TEST_TIMEOUT) -run NothingUnsafeLeaves ./internal/envelope ./internal/policy -args -proofs $(PROOFS)

.PHONY: e2e
e2e: e2e-process e2e-cluster ## End-to-end tests: the built binary over the wire, the image and the manifests on a real cluster.

.PHONY: e2e-process
e2e-process:
	$(GOTEST) -count=1 -vet=off -timeout $(TEST_TIMEOUT) ./cmd/carla-rl/apptest/...

.PHONY: e2e-cluster
e2e-cluster: ## The cluster part of e2e alone; E2E_RUN takes the names of tests, as -run does (root, Linux).
	go vet -tags e2e ./e2e/...
	@echo "e2e: not shown here: the drain and the loss of a node (the cluster has one), NetworkPolicy in force (its network stores policies only)"
	@# Two packages at a time: they mostly wait, for pods, drains and autoscalers.
	$(GOTEST) -tags e2e -count=1 -p 2 -vet=off -timeout $(E2E_TIMEOUT) $(if $(E2E_RUN),-run '$(E2E_RUN)') $$(go list -tags e2e ./e2e/... | grep -v /e2e/chaos)

.PHONY: screenshots
screenshots: ## Write docs/images: the console in Chromium, while the server has something to do (root, Linux; four minutes).
	$(GOTEST) -tags e2e -count=1 -vet=off -timeout $(E2E_TIMEOUT) -run '^TestScreenshots$$' ./e2e/console -args -screenshots $(CURDIR)/docs/images

# Which tests of tools/reliability/tests.txt (ids such as L3, or names of tests),
# by how much more than their numbers, and how long the mixed traffic is.
CHAOS ?=
FACTOR ?= 1
SOAK ?= 30m

.PHONY: chaos
chaos: ## Overload, crashes, hostile clients and files, into docs/reliability.md, on a quiet machine (within the hour; CHAOS="L3 A1", FACTOR).
	@CHAOS='$(CHAOS)' FACTOR='$(FACTOR)' COMMIT='$(COMMIT)' tools/chaos

.PHONY: hostile
hostile: ## Hostile files: pickles and archives by the million, five minutes of fuzzing a format, mutants that Python reads too, into docs/reliability.md (FACTOR).
	@CHAOS='A4 A5 A6 A7 A7-fuzz A8' FACTOR='$(FACTOR)' COMMIT='$(COMMIT)' tools/chaos

.PHONY: e2e-chaos
e2e-chaos: ## A small share of make chaos and twenty seconds of make soak: what does not depend on how fast the machine is.
	go vet -tags e2e ./e2e/chaos
	SOAK=20s SOAK_RATE=200 $(GOTEST) -tags e2e -count=1 -vet=off -timeout $(E2E_TIMEOUT) -run '^(TestSoak|TestReloadsByMany|TestSpoiltFiles|TestKilled|TestExperienceKilled|TestExperienceFaults|TestExperienceFullDisk|TestDatabaseKilled|TestDatabaseAway)$$' ./e2e/chaos

.PHONY: soak
soak: ## Mixed good and bad traffic at half the capacity with a reload every minute, into docs/reliability.md (SOAK=30m, RATE=requests a second).
	@CHAOS=L1 FACTOR=1 COMMIT='$(COMMIT)' SOAK='$(SOAK)' SOAK_RATE='$(RATE)' tools/chaos

.PHONY: chart-lint
e2e: chart-lint
chart-lint: ## Helm 3 and 4 and the schemas of the oldest and the newest Kubernetes over the chart and the manifests.
	tools/chart-lint

.PHONY: chart-package
chart-package: ## Write dist/charts: the chart as a package, and the index of a chart repository.
	@mkdir -p dist/charts
	@helm=$$(tools/cluster/build helm)/helm; \
	$$helm package charts/carla-rl-serving -d dist/charts; \
	cp charts/artifacthub-repo.yml dist/charts/; \
	$$helm repo index dist/charts $(if $(CHART_URL),--url $(CHART_URL))

.PHONY: cluster
cluster: ## Build what the test cluster is made of, into the cache.
	tools/cluster/build

.PHONY: cluster-up
cluster-up: ## Start a cluster to try things on; tools/cluster/{kubectl,exec,push} use it.
	tools/cluster/up

.PHONY: cluster-down
cluster-down: ## End the cluster of cluster-up.
	tools/cluster/down

.PHONY: lint
lint: $(GOLANGCI_LINT) ## golangci-lint, with the house configuration.
	$(GOLANGCI_LINT) run --allow-parallel-runners ./...
	CGO_ENABLED=1 $(GOLANGCI_LINT) run --allow-parallel-runners --build-tags ort ./internal/ort/... ./internal/conformance/... ./cmd/carla-rl ./tools/bench-ort ./bench/...
	$(GOLANGCI_LINT) run --allow-parallel-runners --build-tags e2e ./e2e/...
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo "run make fmt" >&2; exit 1; }

.PHONY: fmt
fmt: $(GOLANGCI_LINT) ## Format the Go files.
	$(GOLANGCI_LINT) fmt ./...

.PHONY: vuln
vuln: $(GOVULNCHECK) ## Known vulnerabilities in what is linked; GOVULNDB names a mirror of the database.
	GOVULNCHECK=$(GOVULNCHECK) tools/vuln

.PHONY: secrets
secrets: $(GITLEAKS) ## Look for keys and passwords in every commit.
	$(GITLEAKS) git --no-banner --redact --verbose .

.PHONY: licenses
licenses: ## Write THIRD_PARTY_LICENSES, the licences of what is linked.
	go run ./tools/licenses

.PHONY: licenses-check
licenses-check: ## Fail where THIRD_PARTY_LICENSES is not what is linked, or a licence is none that may be.
	go run ./tools/licenses -check

.PHONY: reproducible
reproducible: ## Build twice, in other folders and with empty caches: the same bytes.
	VERSION=$(VERSION) COMMIT=$(COMMIT) DATE=$(DATE) tools/reproducible

.PHONY: supply-chain
supply-chain: licenses-check secrets vuln sbom ## What is linked: licences, secrets in the history, known vulnerabilities, bill of materials.

.PHONY: asm
asm: ## Generate the amd64 kernels.
	cd internal/kernel/_asm && go generate ./...

.PHONY: asm-check
asm-check: ## Generate the amd64 kernels and fail where they differ from those in the tree.
	tools/asm-check

.PHONY: arm64-test
arm64-test: ## Run the kernels' and the plan's tests for arm64 under qemu.
	tools/arm64-test

##@ Other

.PHONY: bench
bench: ## Measure engine and server beside other servers, into docs/performance (25 minutes; PART, RUNS, SECONDS, PEERS=none|all make it shorter or longer).
	@go run ./bench -part "$(PART)" -runs $(or $(RUNS),5) -seconds $(or $(SECONDS),5) -peers "$(or $(PEERS),default)" $(BENCH_ARGS)

.PHONY: bench-quick
bench-quick: ## Benchmarks of the Go packages, and requests a second against a no-op on the same stack.
	tools/bench

.PHONY: bench-engine
bench-engine: ## The engine alone against ONNX Runtime and the core's own ceilings; ENGINE_ARGS="-run mlp256 -batch 1".
	@tools/need gcc onnxruntime
	@CGO_ENABLED=1 go run -tags ort ./bench/engine $(ENGINE_ARGS)

.PHONY: counts
counts: ## Count the instructions of the hot paths under callgrind and compare them with those recorded (linux/amd64).
	@tools/need valgrind
	@go run ./tools/callcount

.PHONY: counts-record
counts-record: ## Record the instructions of the hot paths; a rise needs its path named in the changelog.
	@tools/need valgrind
	@go run ./tools/callcount -record

.PHONY: bench-ort
bench-ort: ## The plan against ONNX Runtime, by operator family, at batch 1 on one thread.
	@tools/need gcc onnxruntime
	@CGO_ENABLED=1 go run -tags ort ./tools/bench-ort

.PHONY: clean
clean: ## Remove what was built.
	rm -rf bin dist coverage.out

.PHONY: coverage
coverage: ## Write coverage.out and print the sum.
	go test -coverprofile=coverage.out -coverpkg=./... ./...
	go tool cover -func=coverage.out | tail -1

.PHONY: tools
tools: $(GOLANGCI_LINT) $(GOVULNCHECK) $(GITLEAKS) ## Install the pinned tools into the cache.

$(GOLANGCI_LINT):
	GOBIN=$(@D) GOFLAGS= GOOS= GOARCH= go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)

$(GITLEAKS):
	GOBIN=$(@D) GOFLAGS= GOOS= GOARCH= go install github.com/zricethezav/gitleaks/v8@$(GITLEAKS_VERSION)

$(NFPM):
	GOBIN=$(@D) GOFLAGS= GOOS= GOARCH= go install github.com/goreleaser/nfpm/v2/cmd/nfpm@$(NFPM_VERSION)

$(GOVULNCHECK):
	GOBIN=$(@D) GOFLAGS= GOOS= GOARCH= go install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION)

# Training, the Python package and parity with torch.
include training/train.mk
