# The two commands of the README are `make demo` and `make test`.

GO       ?= go
# More flags for go test, for example TESTFLAGS='-run TestRun -v'.
TESTFLAGS ?=
# The race detector needs a C compiler; without it tests still run. Not :=, for setup-test
# may install one first.
RACE      = $(shell { command -v gcc || command -v cc || command -v clang; } >/dev/null 2>&1 && echo -race)
# The commit that bench-compare compares with, and how often it measures.
BASE     ?= HEAD~1
COUNT    ?= 6
TOOL     := $(GO) tool -modfile=.ci
# All programs with the same flags, so that each package is compiled once.
BUILD     = CGO_ENABLED=0 $(GO) build -trimpath -o bin/
PROGRAMS  = ./cmd/candu-loader ./cmd/fake-segment

export GOFLAGS ?= -buildvcs=false

.DEFAULT_GOAL := help
.PHONY: help setup setup-test build demo demo-build test vet lint generate verify-generated bench bench-compare torture clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

setup: ## Install what the demo needs and is missing (Postgres programs)
	@.ci/setup

setup-test:
	@.ci/setup test

build: ## Build candu-loader and fake-segment into bin/
	$(BUILD) $(PROGRAMS)

demo: ## Watch 100,000 interactions go from Postgres to a fake Segment and into the mirror
	@[ -x bin/candu-loader ] || echo 'The first time, Go compiles everything: one to two minutes. The demo takes ten seconds, and leaves nothing running.'
	@$(MAKE) -j2 --no-print-directory setup demo-build
	@bin/demo bin/candu-loader

demo-build:
	@$(BUILD) $(PROGRAMS) ./cmd/internal/demo

test: setup-test ## Run all tests, with the race detector
	@mkdir -p bin
	@[ -n "$(RACE)" ] || echo "test: NO C COMPILER, SO THE RACE DETECTOR IS OFF" >&2
	@bash -c 'set -o pipefail; $(GO) test $(RACE) -timeout 10m $(TESTFLAGS) ./... | tee bin/test.log'

vet: ## Run go vet
	$(GO) vet ./...

lint: ## Run golangci-lint at its pinned version
	$(TOOL)/golangci-lint.mod golangci-lint run

generate: ## Make the Go code of queries/*.sql again
	cd queries && $(GO) tool -modfile=../.ci/sqlc.mod sqlc generate

verify-generated: ## Fail if generated code is not current
	cd queries && $(GO) tool -modfile=../.ci/sqlc.mod sqlc diff

# It takes eight minutes and 12 GB of disk; BENCHFLAGS=-quick half a minute, BENCHFLAGS='-huge 0' four.
bench: setup ## Measure whole runs against their targets, then the parts (BENCHFLAGS=-quick for a first look)
	@$(BUILD) $(PROGRAMS) ./cmd/internal/plain ./cmd/internal/bench
	@bin/bench -out bin/bench.json $(BENCHFLAGS)
	$(GO) test -run '^$$' -bench . -benchmem ./...

bench-compare: setup ## Compare the benchmarks of the parts with another commit (BASE=HEAD~1, COUNT=6)
	@GO='$(GO)' .ci/bench-compare '$(BASE)' '$(COUNT)'

torture: setup-test build ## Try to break the guarantees, the long version
	CANDU_TORTURE=long $(GO) test -count=1 -timeout 120m -v ./loader/torture

clean: ## Remove what was built
	rm -rf bin
