# Two commands on a fresh machine with Python 3.11+ and make:
#   make train   trains LeNet-300-100 on digits dense, static and with DSR, and shows a table
#   make test    runs the tests
PYTHON ?= python3
# Which build of TensorFlow goes into .venv; `make train TENSORFLOW=tensorflow` takes the one with GPU support.
TENSORFLOW ?= tensorflow-cpu
BIN := .venv/bin

export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: train test lint format clean

train: .venv/ready
	$(BIN)/python -m train.compare --out=runs/digits

test: .venv/ready
	$(BIN)/python -m pytest

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $(TENSORFLOW) -e ".[test]"
	touch $@

clean:
	rm -rf .venv runs build *.egg-info
