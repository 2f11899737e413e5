# Running and testing on one machine. `make help` lists what there is.

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
SERVICES := -p ingest-api -p click-consumer -p analytics-api
MEASURED := $(SERVICES) -p adctl -p local-stack -p bench

# MONITORING=1 also runs Prometheus.
MONITORED := $(if $(filter-out 0 no false off,$(MONITORING)),--monitoring)

# Where rustup puts cargo, for a shell that was opened before that.
export PATH := $(PATH):$(HOME)/.cargo/bin

.DEFAULT_GOAL := help
.PHONY: help run test chaos bench bench-quick clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\): *## /  make \1\t/p' Makefile | expand -t 16
	@echo
	@echo "  REPLAY=none make run     skips the sample; REPLAY=path replays another file"
	@echo "  make run MONITORING=1    also starts Prometheus, with our alerts"
	@echo "  make chaos SEED=7 MINUTES=5   does again what seed 7 did; without a seed it takes a random one"

run: ## Build and run the whole pipeline, replay the sample, stay up until Ctrl-C
	@scripts/install.sh $(MONITORED)
	@cargo build --release $(SERVICES) -p adctl -p local-stack --bins
	@exec "$(TARGET_DIR)/release/local-stack" run $(MONITORED)

test: ## Run every test against real servers that are started for it
	@scripts/install.sh --tests
	@cargo build --workspace --bins
	@cargo build -p click-consumer --features failpoints --bin click-consumer-failpoints
	@"$(TARGET_DIR)/debug/local-stack" exec -- cargo test --workspace --all-targets --no-fail-fast
	@cargo test --workspace --doc

chaos: ## Break everything at random under load, then check that nothing is lost or counted twice
	@scripts/install.sh --tests
	@cargo build --workspace --bins
	@cargo build -p click-consumer --features failpoints --bin click-consumer-failpoints
	@cargo build -p e2e --example chaos
	@exec "$(TARGET_DIR)/debug/examples/chaos" $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES))

bench: ## Measure everything side by side and write docs/BENCHMARKS.md (some 40 minutes)
	@$(call measure,--write docs/BENCHMARKS.md)

bench-quick: ## Measure what a change is compared by (below 5 minutes)
	@$(call measure,--quick)

define measure
scripts/install.sh
cargo build --release $(MEASURED) --bins
cargo build --release $(MEASURED) --features ingest-api/without-kafka --bin ingest-api-without-kafka
exec "$(TARGET_DIR)/release/local-stack" exec --durable -- "$(TARGET_DIR)/release/bench" $(1)
endef

clean: ## Stop what still runs from here and remove its data and logs
	@scripts/clean.sh
