# `make demo` and `make test` install by themselves what they need, into .venv.
PYTHON ?= python3.11
MINUTES ?= 20
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PEERS := build/peers

.PHONY: help demo test test-ui soak bench bench-peers lint check install constraints data clean

help:
	@echo 'make demo         install, then generate questions for the sample passages'
	@echo 'make test         install, then run the tests'
	@echo 'make test-ui      install, then run the tests that drive a browser'
	@echo 'make soak         disturb runs at random for MINUTES=20, and count what was lost'
	@echo 'make bench        measure the native engine beside PaddleNLP (half an hour)'
	@echo 'make bench-peers  the same beside transformers and CTranslate2, which it installs'
	@echo 'make check        ruff, mypy and the tests: what CI runs'
	@echo 'make data         make the sample passages and train the sample model again'
	@echo 'make constraints  resolve the versions in constraints.txt anew'

demo: $(INSTALLED)
	$(BIN)/wenti run configs/demo.yaml
	@echo
	@echo 'The first rows (wenti show latest -n 5):'
	@echo
	@$(BIN)/wenti show latest -n 5

# A file of tests stays in one process: its fixtures are runs and models.
test: $(INSTALLED)
	$(BIN)/python -m pytest -m 'not ui' --numprocesses 2 --dist loadfile

# WENTI_PICTURES=docs/pictures takes the pictures of the documentation anew.
test-ui: $(INSTALLED)
	$(BIN)/python -m pytest -m ui

soak: $(INSTALLED)
	$(BIN)/python -m tests.soak --minutes $(MINUTES)

# Figures for docs/benchmarks.md; quiet machines only.
bench: $(INSTALLED)
	@mkdir -p build
	$(BIN)/wenti bench engine --json build/bench.json
	$(BIN)/wenti bench engine --uneven --json build/bench-uneven.json
	$(BIN)/wenti bench scan --json build/bench-scan.json

bench-peers: $(INSTALLED) $(PEERS)/.installed
	$(BIN)/wenti bench peers --python $(PEERS)/bin/python --json build/bench-peers.json

# Other versions than Wenti's: an environment of its own.
$(PEERS)/.installed:
	@echo 'Installing PyTorch, transformers and CTranslate2 into $(PEERS) …'
	@rm -rf $(PEERS) && $(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/pip install --quiet torch==2.13.0 transformers==5.23.0 ctranslate2==4.8.5
	@touch $@

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test

install: $(INSTALLED)

# A finished install leaves this mark; a changed pyproject.toml or constraints.txt renews it.
$(INSTALLED): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "Wenti needs Python 3.11: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo 'Installing Wenti and Paddle into $(VENV); this takes some minutes the first time …'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

constraints:
	@rm -rf build/constraints && $(PYTHON) -m venv build/constraints
	build/constraints/bin/pip install --quiet --editable '.[dev]'
	build/constraints/bin/pip freeze --exclude-editable --all | sed '/ @ /d' > constraints.txt

data: $(INSTALLED)
	$(BIN)/python data/make_passages.py
	$(BIN)/python data/vocabulary.py
	$(BIN)/python data/train_checkpoint.py

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
