# Every target sets up what it needs. Needs Python 3.11 or later, Node 20 or later, Java 11 or later and make.
SHELL := /bin/bash
.DEFAULT_GOAL := help
UV := $(or $(shell command -v uv),.tools/bin/uv)
RUN := .venv/bin/

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-8s %s\n", $$1, $$2 }'

.tools/bin/uv:
	python3 -m venv .tools && .tools/bin/pip install --quiet 'uv>=0.9,<1'

setup: $(filter .tools/%,$(UV))  ## install the packages that uv.lock names into .venv
	@$(UV) sync --locked --group dev

demo: setup  ## send sample pictures (IMAGES=folder: your own) through the whole line on this machine
	@$(RUN)inspection local demo $(if $(IMAGES),--images "$(IMAGES)")

local: setup  ## keep the whole line running on this machine until Ctrl-C
	@$(RUN)inspection local up

test: setup lint  ## run every test
	@$(RUN)pytest -n 2 --dist loadgroup

lint: setup  ## style and types
	@$(RUN)ruff format --check .
	@$(RUN)ruff check .
	@$(RUN)basedpyright

bench: setup  ## measure: requests and seconds for an image, cost of a page of the queue, import times
	@$(RUN)python -m tests.benchmarks.pipeline
	@$(RUN)python -m tests.benchmarks.review_queue

EXPORT = $(UV) export --frozen --no-emit-project --no-header --quiet
lock: setup  ## write uv.lock anew, and from it the requirements of what is deployed
	$(UV) lock
	$(EXPORT) --only-group predict -o functions/predict/requirements.txt
	$(EXPORT) --only-group move -o functions/move/requirements.txt
	$(EXPORT) --only-group webapp -o webapp/requirements.txt

clean:  ## remove what was made here
	rm -rf .venv .tools .local build .pytest_cache .ruff_cache .hypothesis

.PHONY: help setup demo local test lint bench lock clean
