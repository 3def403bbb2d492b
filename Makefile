# The two commands of the README are `make demo` and `make test`.

GO       ?= go
# More flags for go test, for example TESTFLAGS='-run TestRun -v'.
TESTFLAGS ?=
# The race detector needs a C compiler; without it tests still run. Not :=, for setup-test
# may install one first.
RACE      = $(shell { command -v gcc || command -v cc || command -v clang; } >/dev/null 2>&1 && echo -race)
# The version of Postgres for test-postgres.
PG       ?=
# Names of mutants, for mutants; none = all.
MUTANTS  ?=
# The commit that bench-compare compares with, and how often it measures.
BASE     ?= HEAD~1
COUNT    ?= 6
TOOL     := $(GO) tool -modfile=.ci
# What other builds than the usual one compile: vet and lint look at it too.
TAGS      = failpoint,browser,pgbouncer
LEFTOUT   = test: left out: the status page in a browser (make test-browser), PgBouncer (make test-pgbouncer), \
            the long trial of the guarantees (make torture), the tests of the tests (make mutants)
# $(call gotest,ARGUMENTS) runs go test and keeps what it said.
gotest    = bash -c 'set -o pipefail; $(GO) test $(RACE) -timeout 20m $(TESTFLAGS) $(1) | tee -a bin/test.log'
# All programs with the same flags, so that each package is compiled once.
BUILD     = CGO_ENABLED=0 $(GO) build -trimpath -o bin/
PROGRAMS  = ./cmd/candu-loader ./cmd/fake-segment

export GOFLAGS ?= -buildvcs=false

.DEFAULT_GOAL := help
.PHONY: help setup setup-test build demo demo-build test test-browser test-pgbouncer test-postgres test-busy vet lint generate verify-generated bench bench-once bench-compare torture mutants clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

setup: ## Install what the demo needs and is missing (Postgres programs)
	@.ci/setup

setup-test:
	@.ci/setup test
	@mkdir -p bin
	@[ -n "$(RACE)" ] || echo "test: NO C COMPILER, SO THE RACE DETECTOR IS OFF" >&2

build: ## Build candu-loader and fake-segment into bin/
	$(BUILD) $(PROGRAMS)

demo: ## Watch 100,000 interactions go from Postgres to a fake Segment and into the mirror
	@[ -x bin/candu-loader ] || echo 'The first time, Go compiles everything: one to two minutes. The demo takes ten seconds, and leaves nothing running.'
	@$(MAKE) -j2 --no-print-directory setup demo-build
	@bin/demo bin/candu-loader

demo-build:
	@$(BUILD) $(PROGRAMS) ./cmd/internal/demo

test: setup-test ## Run all tests, with the race detector
	@rm -f bin/test.log
	@$(call gotest,./...); code=$$?; echo '$(LEFTOUT)'; exit $$code

test-browser: setup-test ## Run the tests that need a Chromium: the status page
	@.ci/setup browser
	@$(call gotest,-tags browser ./loader/statuspage)

test-pgbouncer: setup-test ## Run the test that needs PgBouncer
	@.ci/setup pgbouncer
	@$(call gotest,-tags pgbouncer -run PgBouncer ./loader/torture)

# Without the race detector, which make test has. -count=1, for go does not see that another version is asked for.
test-postgres: setup-test ## Run all tests on another version of Postgres (PG=13 to 18)
	@bin=$$(.ci/postgres '$(PG)') && $(MAKE) --no-print-directory test-on PGBIN="$$bin"

.PHONY: test-on
test-on: RACE =
test-on: export PGBIN := $(PGBIN)
test-on:
	@"$(PGBIN)/postgres" --version
	@$(call gotest,-count=1 ./...)

test-busy: setup-test ## Run all tests three times on a machine with too much to do
	@.ci/test-busy

vet: ## Run go vet
	$(GO) vet ./...
	$(GO) vet -tags $(TAGS) ./...

lint: ## Run golangci-lint at its pinned version
	$(TOOL)/golangci-lint.mod golangci-lint run
	$(TOOL)/golangci-lint.mod golangci-lint run --build-tags $(TAGS)

generate: ## Make the Go code of queries/*.sql again
	cd queries && $(GO) tool -modfile=../.ci/sqlc.mod sqlc generate

verify-generated: ## Fail if generated code is not current
	cd queries && $(GO) tool -modfile=../.ci/sqlc.mod sqlc diff

# It takes eight minutes and 12 GB of disk; BENCHFLAGS=-quick half a minute, BENCHFLAGS='-huge 0' four.
bench: setup ## Measure whole runs against their targets, then the parts (BENCHFLAGS=-quick for a first look)
	@$(BUILD) $(PROGRAMS) ./cmd/internal/plain ./cmd/internal/bench
	@bin/bench -out bin/bench.json $(BENCHFLAGS)
	$(GO) test -run '^$$' -bench . -benchmem ./...

bench-once: setup-test ## Run each benchmark of the parts once, to see that it works
	$(GO) test $(RACE) -run '^$$' -bench . -benchtime 1x ./...

bench-compare: setup ## Compare the benchmarks of the parts with another commit (BASE=HEAD~1, COUNT=6)
	@GO='$(GO)' .ci/bench-compare '$(BASE)' '$(COUNT)'

torture: setup-test build ## Try to break the guarantees, the long version
	CANDU_TORTURE=long $(GO) test -count=1 -timeout 120m -v ./loader/torture

# Ten minutes on two cores. MUTANTS='slot-taken-twice ...' tries those alone.
mutants: setup-test ## Break the program on purpose, and demand that a test fails each time
	$(GO) run ./cmd/internal/mutants $(MUTANTS)

clean: ## Remove what was built
	rm -rf bin
