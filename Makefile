# Every target is a command of xtask; this file only hands over.
#
# It is built and run in the user's cache, where a new clone finds what an earlier one built; with CARGO_TARGET_DIR set, here.

XTASK := xtask/from-cache.sh cargo xtask

.PHONY: help setup demo interop test kill-test notify-test bench compat tidy ramdisk tiny-image debian-image testbed-check

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

# notifications to a real RabbitMQ and a consumer written with oslo.messaging
notify-test:
	@$(XTASK) notify-test

# what the service costs, against upstream's service; options: make bench BENCH=--quick
bench:
	@$(XTASK) bench $(BENCH)

# clients' scripts against upstream's service and ours, compared
compat:
	@$(XTASK) compat

setup tidy ramdisk tiny-image debian-image testbed-check:
	@$(XTASK) $@
