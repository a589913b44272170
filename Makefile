# Two commands on a fresh machine with Python 3.11+ and make:
#   make train   trains LeNet-300-100 on digits dense, static and with DSR, and shows a table
#   make test    runs the tests (make thorough also those that take too long for every change)
PYTHON ?= python3
# Which build of TensorFlow goes into .venv; `make train TENSORFLOW=tensorflow` takes the one with GPU support.
TENSORFLOW ?= tensorflow-cpu
BIN := .venv/bin

export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: train test thorough lint format clean

train: .venv/ready
	$(BIN)/python -m train.compare --out=runs/digits

test: .venv/ready
	$(BIN)/python -m pytest -n auto --dist loadfile

thorough: .venv/ready
	$(BIN)/python -m pytest -n auto --dist loadfile --thorough

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

clean:
	rm -rf .venv runs build *.egg-info
