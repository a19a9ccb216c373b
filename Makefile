# The ways of working. `make` alone lists them.
#
# ARGS are handed on to the program that a target runs:
#   make run ARGS='--config ./my.yaml'
#   make bench ARGS='-h'

SHELL       := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS   += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help

# Go comes from the machine; no target fetches another one.
export GOTOOLCHAIN := local

ARGS     ?=
IMAGE    ?= refreshd:dev
GOLANGCI := go tool -modfile=$(CURDIR)/.ci/tools.mod golangci-lint

# Packages that test the built program. One after the other, for each fills the
# machine, and never from go's cache, which does not see that it has changed. The
# crash matrix, hundreds of processes beside it, goes without the race detector.
WHOLE := ./test/oracle ./test/harness ./test/service ./test/chaos

# Packages with tests of what happens when a step fails or a process dies there.
FAILPOINTS := ./internal/failpoint ./internal/journal ./internal/provider/wire ./internal/clock ./scheduler

# Modules of their own: the libraries that they test against stay out of go.mod.
# One of them tests built programs, hence never from the cache either.
MODULES := $(patsubst %/go.mod,%,$(wildcard test/*/go.mod bench/go.mod bench/*/go.mod))

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: build ## Watch refreshd keep the tokens of a practice provider fresh (bounded, loopback only)
	@exec ./bin/practice demo --refreshd ./bin/refreshd $(ARGS)

.PHONY: run
run: build ## Build and run the service in the foreground (ARGS='--config FILE')
	@exec ./bin/refreshd serve $(ARGS)

.PHONY: build
build: ## Build bin/refreshd and bin/practice, static and stripped
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o bin/ ./cmd/...

.PHONY: test
test: ## Run all tests with the race detector, against a real redis-server
	@.ci/ensure-redis.sh
	@.ci/ensure-gcc.sh
	@.ci/ensure-chromium.sh
	@.ci/ensure-node.sh
	@.ci/go-test.sh . $$(go list ./... | grep -v '/test/')
	@.ci/go-test.sh . -tags=kafka -run=Kafka ./internal/app
	@REFRESHD_NO_RACE=1 .ci/go-test.sh . ./internal/model # further than the race detector lets it go
	@.ci/go-test.sh . -tags=failpoints $(FAILPOINTS)
	@for package in $(WHOLE); do .ci/go-test.sh . -count=1 -timeout=20m "$$package" || exit 1; done
	@REFRESHD_NO_RACE=1 .ci/go-test.sh . -count=1 -timeout=20m ./test/matrix
	@for module in $(MODULES); do .ci/go-test.sh "$$module" -count=1 ./... || exit 1; done

.PHONY: lint
lint: ## Check shell scripts, go.mod, go vet, golangci-lint and the format of the code
	@.ci/lint-scripts.sh
	@for module in . $(MODULES); do \
		echo "lint: $$module"; \
		(cd "$$module" && go mod tidy -diff && go vet ./... && \
			$(GOLANGCI) run --config $(CURDIR)/.golangci.yaml ./... && \
			$(GOLANGCI) fmt --config $(CURDIR)/.golangci.yaml --diff) || exit 1; \
	done
	@echo "lint: with kafka, with failpoints"
	@go vet -tags=kafka ./internal/app && $(GOLANGCI) run --build-tags=kafka ./internal/app
	@go vet -tags=failpoints $(FAILPOINTS) && $(GOLANGCI) run --build-tags=failpoints $(FAILPOINTS)

.PHONY: fmt
fmt: ## Format the code the way lint wants it
	@for module in . $(MODULES); do \
		(cd "$$module" && $(GOLANGCI) fmt --config $(CURDIR)/.golangci.yaml) || exit 1; \
	done

.PHONY: bench
bench: ## Compare refreshes per second with other ways of doing it (loopback only)
	@.ci/ensure-redis.sh
	go run ./bench/compare $(ARGS)

.PHONY: compare-crash
compare-crash: ## Kill refreshd and a plain asynq worker amid refreshes and count what is lost (about 9 minutes)
	@.ci/ensure-redis.sh
	go run ./bench/comparecrash $(ARGS)

.PHONY: chaos
chaos: ## Break everything at random for a while and judge the promises (about 16 minutes; ARGS='-seed 7' adds, ARGS='-faults 300' replaces one)
	@.ci/ensure-redis.sh
	go test ./test/chaos -count=1 -timeout=170m -v -run='^TestCampaign$$' -args -rotations 20000 -faults 2000 -duration 20m $(ARGS)

.PHONY: fuzz
fuzz: ## Run every fuzz target for a while (FUZZTIME=30s each, ARGS=./internal/journal for one package)
	@.ci/fuzz.sh $(ARGS)

.PHONY: soak
soak: ## Run the scenarios at full length, over an hour (ARGS='-v -run=TestSoakStopDrains' for one, REFRESHD_NO_RACE=1 without the race detector)
	@.ci/ensure-redis.sh
	@.ci/ensure-gcc.sh
	@REFRESHD_SOAK=1 .ci/go-test.sh . -count=1 -timeout=150m $(or $(ARGS),-run=Soak) ./test/service

.PHONY: image
image: ## Build the container image (IMAGE=refreshd:dev)
	@command -v docker >/dev/null || { echo 'make image: docker is not on PATH; install it, or build deploy/container/Dockerfile with another builder' >&2; exit 1; }
	docker build --file deploy/container/Dockerfile --tag $(IMAGE) .
