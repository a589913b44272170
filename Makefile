# Two commands on a fresh machine with Python 3.11+ and make:
#   make train   trains LeNet-300-100 on digits dense, static and with DSR, and shows a table
#   make test    runs the tests on TensorFlow, JAX and torch (make thorough also those that take too long for every change)
PYTHON ?= python3
# Which build of TensorFlow goes into .venv; `make train TENSORFLOW=tensorflow` takes the one with GPU support.
TENSORFLOW ?= tensorflow-cpu
# What else the tests need. Where an index of CPU builds of torch is at hand, the tests need no other.
JAX ?= jax
TORCH ?= torch==2.13.0
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile

export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: train test thorough lint format clean

train: .venv/ready
	$(BIN)/python -m train.compare --out=runs/digits

test: .venv/backends
	KERAS_BACKEND=tensorflow $(PYTEST)
	KERAS_BACKEND=jax $(PYTEST)
	KERAS_BACKEND=torch $(PYTEST)

thorough: .venv/backends
	KERAS_BACKEND=tensorflow $(PYTEST) --thorough
	KERAS_BACKEND=jax $(PYTEST) --thorough
	KERAS_BACKEND=torch $(PYTEST) --thorough

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

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
	rm -rf .venv runs build *.egg-info
