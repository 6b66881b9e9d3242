# Every target sets up what it needs. Needs Python 3.11 or later, Node 20 or later and make.
SHELL := /bin/bash
.DEFAULT_GOAL := help
UV := $(or $(shell command -v uv),.tools/bin/uv)
RUN := .venv/bin/

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-10s %s\n", $$1, $$2 }'

.tools/bin/uv:
	python3 -m venv .tools && .tools/bin/pip install --quiet 'uv>=0.9,<1'

setup: $(filter .tools/%,$(UV))  ## install the packages that uv.lock names into .venv
	@$(UV) sync --locked --group dev --python '>=3.11'

demo: setup  ## send sample pictures (IMAGES=folder: your own) through the whole line on this machine
	@$(RUN)inspection local demo $(if $(IMAGES),--images "$(IMAGES)")

local: setup  ## keep the whole line running on this machine until Ctrl-C
	@$(RUN)inspection local up

# Debian's Chromium, where there is no browser and one can be installed; without one the tests of the page skip and say so.
BROWSERS := chromium chromium-browser google-chrome google-chrome-stable chrome
browser:
	@for name in $(BROWSERS); do command -v $$name && exit 0; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing chromium"; apt-get update -qq && apt-get install -y -qq chromium >/dev/null; \
	else echo "no browser here: install chromium to run the tests of the review page"; fi

test: setup browser lint  ## run every test
	@$(RUN)pytest -n 2 --dist loadgroup

check: lint  ## style, types and unit tests, in about a minute; needs no browser
	@$(RUN)pytest -q -n 2 --dist loadgroup -m unit

T ?= tests
test-one: setup  ## run some tests: T=tests/infra, T="-m browser" or T="tests/webapp -k undo"
	@$(RUN)pytest $(T)

lint: setup  ## style and types
	@$(RUN)ruff format --check .
	@$(RUN)ruff check .
	@$(RUN)basedpyright
	@$(RUN)lint-imports --no-cache

bench: setup browser  ## measure: requests and seconds for an image, a page of the queue, a keypress
	@$(RUN)python -m tests.benchmarks.pipeline
	@$(RUN)python -m tests.benchmarks.review_queue
	@$(RUN)python -m tests.benchmarks.review_page
	@OMP_NUM_THREADS=2 $(RUN)python -m tests.benchmarks.own_model

proof: setup  ## show that no picture is lost, no permission is too many, no bad input hurts (about twenty minutes)
	@$(RUN)python -m proof

docs: setup  ## write docs/configuration.md anew from the program's own settings
	@$(RUN)python -m infra.reference

EXPORT = $(UV) export --frozen --no-emit-project --no-header --quiet
lock: setup  ## write uv.lock anew, and from it the requirements of what is deployed
	$(UV) lock
	for kind in automl vertex own; do $(EXPORT) --only-group predict-$$kind -o functions/predict/requirements-$$kind.txt; done
	$(EXPORT) --only-group move -o functions/move/requirements.txt
	$(EXPORT) --only-group webapp -o webapp/requirements.txt

clean:  ## remove what was made here
	rm -rf .venv .tools .local build .pytest_cache .ruff_cache .hypothesis


.PHONY: browser check test-one docs help setup demo local test lint bench proof lock clean
