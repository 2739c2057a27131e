# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The two commands are "make demo" and "make test"; "make help" names the rest. The work is done by the programs in tools/.

SHELL := bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Settings, all optional:
#   PYTHON=python3.12         the controller side's Python; else a fitting one is picked
#   LAB_DISTRIBUTION=trixie   what the lab's hosts run (bookworm)
#   STAGES=trixie             of test-all, only the stages whose names match
#   LONG=drill                of e2e-long, only this scenario
#   LAB_KEEP=1                leave the lab's hosts up at the end
#   V=1                       show the output of every command, not only of those that fail
export PYTHON ?=
export LAB_DISTRIBUTION ?= bookworm
export LAB_KEEP ?=
export V ?=
export PYTHONDONTWRITEBYTECODE := 1

# tools/ wants any Python 3.8 or newer; what needs more gets it from .venv
BOOT := python3
RUN := .venv/bin/python

-include lab/lab.mk

##@ The two commands

.PHONY: demo
demo: setup ## boot two hosts, attach a disk of one to the other over two paths, run it again to see nothing change, cut each path
	@$(RUN) tools/demo.py

.PHONY: test
test: setup ## run every test (see the stages below), the lab's hosts on bookworm
	@$(RUN) tools/suite.py test

##@ More of the same

.PHONY: test-all
test-all: setup ## test, and the long scenarios, the lab on trixie, every Python from 3.8 up; recorded in docs/tested.md
	@$(RUN) tools/suite.py test-all $(if $(STAGES),"$(STAGES)")

.PHONY: setup
setup: ## install what is missing: Debian packages, virtual environments
	@$(BOOT) tools/bootstrap.py debian python report

.PHONY: setup-python
setup-python:
	@$(BOOT) tools/bootstrap.py python

##@ Stages of the test run, each alone

.PHONY: unit unit-all lint docs-lint sanity dist-test
unit: setup-python ## unit tests: the controller's Python, and the oldest and newest of managed hosts
unit-all: setup-python ## unit tests with every Python from 3.8 up that is here
lint: setup-python ## ansible-lint (production profile), mypy --strict, ruff, yamllint, changelog fragments
docs-lint: setup-python ## antsibull-docs lint-collection-docs
sanity: setup ## ansible-test sanity
dist-test: setup-python ## build the collection, install the tarball, read its documentation from there
unit unit-all lint docs-lint sanity dist-test:
	@$(RUN) tools/stages.py $@

.PHONY: integration
integration: setup ## the modules against a real tgtd on loopback (root)
	@$(RUN) tools/stages.py integration

.PHONY: e2e e2e-one e2e-two e2e-long
e2e: setup ## the scenarios on hosts of the lab, in two halves side by side
	@$(RUN) tools/suite.py e2e
e2e-one e2e-two: setup
	@$(RUN) tools/stages.py $@
e2e-long: setup ## a boot from iSCSI, the drill, the gateways to Gluster, power cuts over LVM: a quarter of an hour and more each; LONG=drill for one
	@$(RUN) tools/stages.py $@

##@ The rest

.PHONY: bench
bench: setup ## measure, print ratios, write bench/README.md (root)
	@$(BOOT) tools/bootstrap.py bench
	@$(RUN) bench/run.py

.PHONY: dist
dist: dist-test ## build the collection's tarball into .build/dist
	@ls -l .build/dist/

.PHONY: clean
clean: ## remove what was built and installed here; the caches of images and of ansible-test stay
	rm -rf .build .venv .venv-py* .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .ansible tests/output
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help: ## this list
	@awk 'BEGIN { FS = ":.*## " } /^##@/ { printf "\n%s\n", substr($$0, 5) } /^[a-z0-9-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
