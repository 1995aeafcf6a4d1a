# Everything a developer types. `make` alone prints the list.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# What scripts/bootstrap installs, before what the system has.
export PATH := $(CURDIR)/.tools/bin:$(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH):/usr/local/sbin:/usr/sbin:/sbin

ROUNDS ?= 7
SECONDS ?= 8
FUZZ_SECONDS ?= 60

# Of what `make test` has built; nothing is kept, since it is no measurement.
SHORT_LOAD := loadtest/run --profile debug --no-build --rounds 1

.PHONY: help run test test-full bench loadtest fuzz lint image bootstrap

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: bootstrap ## start the gateway with a demo upstream, and print curl lines to try
	@scripts/quickstart

test: bootstrap ## build everything and run all tests but the slow ones
	cargo build --workspace --bins --tests
	cargo test --workspace

test-full: export KNOXCALL_TEST_FULL := 1
test-full: test ## the tests with the slow ones, h2spec, a short fuzz of each target, short load tests
	scripts/h2spec
	scripts/fuzz 10
	loadtest/setup
	for scenario in product grpc websocket; do $(SHORT_LOAD) --seconds 5 --scenario $$scenario; done
	$(SHORT_LOAD) --seconds 1

bench: bootstrap ## criterion benchmarks of each filter and of the whole decision
	cargo bench -p knoxcall-benches

loadtest: bootstrap ## compare with nginx, HAProxy, Envoy and bare Pingora (ROUNDS=7 SECONDS=8)
	loadtest/setup
	cargo build --release -p knoxcall -p knoxcall-loadtest-bare
	loadtest/run --rounds $(ROUNDS) --seconds $(SECONDS)

fuzz: bootstrap ## run every fuzz target (FUZZ_SECONDS=60 each)
	scripts/fuzz $(FUZZ_SECONDS)

lint: bootstrap ## formatting, clippy, dependencies, licences, script syntax
	cargo fmt --all --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --manifest-path fuzz/Cargo.toml --target-dir target -- -D warnings
	cargo deny --log-level error check bans licenses sources
	scripts/lint-scripts
	scripts/lint-monitoring

image: bootstrap ## build the container image with docker, podman or buildah, and check it
	scripts/image

bootstrap:
	@scripts/bootstrap
