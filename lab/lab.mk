# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Throw-away hosts, see lab/README.md. Included by the Makefile of the checkout, or used alone with "make -f lab/lab.mk".

LAB_TOOL := $(if $(wildcard .venv/bin/python),.venv/bin/python,python3) lab/lab.py

##@ The lab

.PHONY: lab-image lab-up lab-down lab-status lab-shell lab-reset
lab-image: ## build the image of the lab's hosts, unless the cache has it
	@$(LAB_TOOL) image

lab-up: ## boot the lab's hosts (HOSTS=target,initiator,gateway2) and leave them running
	@$(LAB_TOOL) up $(if $(HOSTS),--hosts $(HOSTS))

lab-down: ## end the lab's hosts and throw their disks away
	@$(LAB_TOOL) down

lab-status: ## say which hosts run, and where
	@$(LAB_TOOL) status

lab-reset: ## fresh state of all hosts in a few seconds
	@$(LAB_TOOL) reset

lab-shell: ## a shell on a host (HOST=initiator)
	@$(LAB_TOOL) ssh $(or $(HOST),initiator)
