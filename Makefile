# Two commands on a fresh machine with Python 3.11+ and make:
#   make train   trains LeNet-300-100 on digits dense, static and with DSR, and shows a table
#   make test    runs the tests on TensorFlow, JAX and torch (make thorough also those that take too long for every change)
PYTHON ?= python3
# Which build of TensorFlow goes into .venv; `make train TENSORFLOW=tensorflow` takes the one with GPU support.
TENSORFLOW ?= tensorflow-cpu
# What else the tests need. Where an index of CPU builds of torch is at hand, the tests need no other.
JAX ?= jax
TORCH ?= torch==2.13.0
# Where the tests run; `make test BACKENDS=jax` runs them on one.
BACKENDS ?= tensorflow jax torch
# What `make keras-nightly` puts in the place of the released Keras.
KERAS_NIGHTLY ?= keras-nightly
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile

export TF_CPP_MIN_LOG_LEVEL ?= 2
# A notice of mkdocs-material on the future of MkDocs.
export NO_MKDOCS_2_WARNING ?= 1

.PHONY: train test thorough examples results-small machines keras-oldest keras-nightly lint format docs docs-serve release-check clean

train: .venv/ready
	$(BIN)/python -m train.compare --out=runs/digits

test: .venv/backends
	for backend in $(BACKENDS); do KERAS_BACKEND=$$backend $(PYTEST) || exit 1; done

thorough: .venv/backends
	for backend in $(BACKENDS); do KERAS_BACKEND=$$backend $(PYTEST) --thorough || exit 1; done

# Runs the scripts of examples/ on TensorFlow, and writes each one's notebook with what it printed and drew.
examples: .venv/backends
	KERAS_BACKEND=tensorflow $(BIN)/python docs/tools/notebooks.py

# Trains a row of each table of docs/results.md again, and compares; DATA_DIR is a folder of prepared TensorFlow Datasets.
results-small: .venv/ready
	$(BIN)/python docs/tools/results.py $(if $(DATA_DIR),--data_dir=$(DATA_DIR))

# What files for phones and browsers are run on in `make thorough`: Debian 12, root, node and npm.
machines:
	tests/helpers/other_machines/install.sh .machines

# The lower bounds of pyproject.toml, on the backends that have one; Python 3.11 has builds of all of them.
keras-oldest:
	@echo "Setting up .venv-oldest with the oldest versions that pyproject.toml allows, 3 to 5 minutes."
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m tests.helpers.lower_bounds > .venv-oldest/constraints.txt
	.venv-oldest/bin/python -m pip install -qq -c .venv-oldest/constraints.txt $(TENSORFLOW) torch -e ".[test]"
	.venv-oldest/bin/python -c "import keras; print('Keras', keras.__version__)"
	for backend in tensorflow torch; do \
	  KERAS_BACKEND=$$backend .venv-oldest/bin/python -m pytest -n auto --dist loadfile || exit 1; done

keras-nightly:
	@echo "Setting up .venv-nightly with the newest Keras that the index has, pre-releases included, 3 to 5 minutes."
	$(PYTHON) -m venv .venv-nightly
	.venv-nightly/bin/python -m pip install -qq $(TENSORFLOW) $(JAX) $(TORCH) -e ".[test]"
	.venv-nightly/bin/python -m pip uninstall -qq -y keras
	.venv-nightly/bin/python -m pip install -qq --pre $(KERAS_NIGHTLY)
	.venv-nightly/bin/python -c "import keras; print('Keras', keras.__version__)"
	for backend in tensorflow jax torch; do \
	  KERAS_BACKEND=$$backend .venv-nightly/bin/python -m pytest -n auto --dist loadfile || exit 1; done

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The pages of docs/ and the reference as a site in site/. Once .venv-docs is there nothing is downloaded.
docs: .venv-docs/ready
	.venv-docs/bin/mkdocs build --quiet --strict
	@echo "The documentation is in site/index.html."

docs-serve: .venv-docs/ready
	.venv-docs/bin/mkdocs serve

# What a package index gets, in dist/: both files are built, and hold what they should. Run it without uncommitted files.
release-check: .venv-release/ready
	rm -rf dist build keras_dsr.egg-info
	.venv-release/bin/python -m build
	.venv-release/bin/twine check --strict dist/*
	.venv-release/bin/python -m tests.helpers.distributions dist

.venv-docs/ready: pyproject.toml
	@echo "Setting up .venv-docs: Keras and the tools of the documentation, about a minute."
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install -qq -e ".[docs]"
	@touch $@

.venv-release/ready:
	@echo "Setting up .venv-release: the tools that build and check the package, half a minute."
	$(PYTHON) -m venv .venv-release
	.venv-release/bin/python -m pip install -qq build twine
	@touch $@

.venv/ready: pyproject.toml
	@echo "Setting up .venv: TensorFlow and what the experiments and tests need, 1 to 3 minutes."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -qq --upgrade pip
	$(BIN)/python -m pip install -qq $(TENSORFLOW) -e ".[test]"
	@touch $@

.venv/backends: .venv/ready
	@echo "Adding JAX and torch to .venv, for the tests, 1 to 2 minutes."
	$(BIN)/python -m pip install -qq $(JAX) $(TORCH)
	@touch $@

clean:
	rm -rf .venv .venv-oldest .venv-nightly .venv-docs .venv-release runs site build dist *.egg-info
