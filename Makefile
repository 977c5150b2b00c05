# SPDX-License-Identifier: GPL-2.0-or-later
# make demo           install into .venv, build the guest programs, record a guest on every architecture and report it
# make test           all checks: format, lint, types, tests
# make fuzz           the fuzzing tests for longer
# make bench          how fast it is, beside qemu-user and a bare pager
# make pictures       the pictures of docs/img and the outputs in docs/tutorial.md afresh
# make kernel-traces  record the real kernel afresh (root, x86-64, MMSCOPE_KERNEL_TRACE names the tool)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check fuzz bench pictures kernel-traces guests bytecode clean

$(VENV)/.installed: pyproject.toml setup.py $(wildcard emu/*.h emu/hw/*.[ch] emu/sched/*.[ch] emu/trace/*.c)
	@echo "installing mmscope and its tools into $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# An environment in which Python writes no bytecode would compile the sources at every start.
bytecode: $(VENV)/.installed
	@$(BIN)/python -m compileall -q emu archs

guests: bytecode
	@$(BIN)/python guestprogs/build.py

demo: bytecode
	@$(BIN)/python guestprogs/build.py faults
	@$(BIN)/python bench/demo.py

check: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: check guests
	$(BIN)/python -m pytest -n auto --dist worksteal -m 'not timing'
	$(BIN)/python -m pytest -m timing

fuzz: guests
	$(BIN)/python -m pytest tests --hypothesis-profile=long -m fuzz

bench: guests
	$(BIN)/python bench/bench.py

pictures: guests
	$(BIN)/python docs/pictures.py
	$(BIN)/python docs/tutorial.py

kernel-traces: guests
	$(BIN)/python traces/record.py

clean:
	rm -rf $(VENV) guestprogs/build build out
