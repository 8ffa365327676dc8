# Every target is a command of xtask; this file only hands over.
#
# Build outputs that can be shared between clones go to the user's cache, unless CARGO_TARGET_DIR says where.
BESSEMER_CACHE_DIR := $(or $(BESSEMER_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/bessemer)
ifndef CARGO_TARGET_DIR
export CARGO_BUILD_BUILD_DIR ?= $(BESSEMER_CACHE_DIR)/build
# Cargo knows what is fresh by times, and takes another clone's newer output for ours: when another clone built here last, our
# own crates (not the dependencies) are built anew.
CLAIMED := $(shell owner="$(CARGO_BUILD_BUILD_DIR)/owner"; mkdir -p "$(CARGO_BUILD_BUILD_DIR)"; \
	if [ "$$(cat "$$owner" 2>/dev/null)" != "$(CURDIR)" ]; then \
		rm -rf "$(CARGO_BUILD_BUILD_DIR)"/*/.fingerprint/bessemer-*; echo "$(CURDIR)" > "$$owner"; fi)
endif

XTASK := cargo xtask

.PHONY: help setup demo interop test kill-test bench compat tidy ramdisk tiny-image debian-image testbed-check

help:
	@$(XTASK) --help

# machines from blank disk to login prompt, and back
demo:
	@$(XTASK) demo

# the same with upstream's agent in the deploy ramdisk
interop:
	@$(XTASK) interop

# everything that is checked
test:
	@$(XTASK) test

# the service killed a hundred times while it deploys two hundred simulated hosts
kill-test:
	@$(XTASK) kill-test

# what the service costs, against upstream's service; options: make bench BENCH=--quick
bench:
	@$(XTASK) bench $(BENCH)

# clients' scripts against upstream's service and ours, compared
compat:
	@$(XTASK) compat

setup tidy ramdisk tiny-image debian-image testbed-check:
	@$(XTASK) $@
