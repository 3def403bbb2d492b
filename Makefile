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

export GOFLAGS ?= -buildvcs=false

.DEFAULT_GOAL := help
.PHONY: help setup setup-test build demo test vet lint generate verify-generated bench bench-compare pgo torture clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

setup: ## Install what the demo needs and is missing (Postgres programs)
	@.ci/setup

setup-test:
	@.ci/setup test

build: ## Build candu-loader and fake-segment into bin/
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/ ./cmd/candu-loader ./cmd/fake-segment

demo: setup build ## Watch 100,000 interactions go from Postgres to a fake Segment and into the mirror
	@$(GO) run ./cmd/internal/demo bin/candu-loader

test: setup-test ## Run all tests, with the race detector
	@mkdir -p bin
	@[ -n "$(RACE)" ] || echo "test: NO C COMPILER, SO THE RACE DETECTOR IS OFF" >&2
	@bash -c 'set -o pipefail; $(GO) test $(RACE) -pgo=off -timeout 10m $(TESTFLAGS) ./... | tee bin/test.log'

vet: ## Run go vet
	$(GO) vet ./...

lint: ## Run golangci-lint at its pinned version
	$(TOOL)/golangci-lint.mod golangci-lint run

generate: ## Make the Go code of queries/*.sql again
	cd queries && $(GO) tool -modfile=../.ci/sqlc.mod sqlc generate

verify-generated: ## Fail if generated code is not current
	cd queries && $(GO) tool -modfile=../.ci/sqlc.mod sqlc diff

# It takes eight minutes and 12 GB of disk; BENCHFLAGS=-quick half a minute, BENCHFLAGS='-huge 0' four.
bench: setup build ## Measure whole runs against their targets, then the parts (BENCHFLAGS=-quick for a first look)
	@$(GO) build -o bin/ ./cmd/internal/plain
	@$(GO) run ./cmd/internal/bench -out bin/bench.json $(BENCHFLAGS)
	$(GO) test -run '^$$' -bench . -benchmem ./...

bench-compare: setup ## Compare the benchmarks of the parts with another commit (BASE=HEAD~1, COUNT=6)
	@GO='$(GO)' .ci/bench-compare '$(BASE)' '$(COUNT)'

pgo: setup ## Make the profile anew that the compiler optimizes candu-loader by (cmd/candu-loader/default.pgo)
	CGO_ENABLED=0 $(GO) build -trimpath -pgo=off -tags profile -o bin/pgo/ ./cmd/candu-loader ./cmd/fake-segment ./cmd/internal/plain
	@$(GO) run ./cmd/internal/bench -bin bin/pgo -rounds 1 -wide 0 -huge 0 -profile cmd/candu-loader/default.pgo

torture: setup-test build ## Try to break the guarantees, the long version
	CANDU_TORTURE=long $(GO) test -count=1 -timeout 120m -v ./loader/torture

clean: ## Remove what was built
	rm -rf bin
