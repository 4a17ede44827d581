# Plain entries; each sets up what it needs in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint docs detection bench cluster kills clean

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	$(BIN)/python -m compileall -q maillog_forensics  # as pip does for every other package: a start need not
	touch $@

$(VENV)/tested: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,objects,spark]'
	touch $@

demo: $(VENV)/installed  ## the main job on sample_logs/
	mkdir -p out
	$(BIN)/maillog-forensics analyze sample_logs/*/ --report out/report.html --findings out/findings.json
	@echo "Open out/report.html in a browser."

test: $(VENV)/tested  ## everything that proves the program
	sh tests/install-debian.sh
	$(BIN)/maillog-forensics formats check
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal --durations 12

lint: $(VENV)/tested
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

docs: $(VENV)/tested  ## write the generated pages and schemas again
	$(BIN)/python -m tests.generate_docs

detection: $(VENV)/tested  ## recall, precision and errors by kind, on generated labelled logs
	$(BIN)/python -m tests.detection

cluster: $(VENV)/tested  ## both engines on every recorded incident and on 2 GB: the same findings, and how fast
	$(BIN)/python -m tests.cluster_bench

bench: $(VENV)/tested  ## speed and memory beside pflogsumm and eximstats, in one run
	$(BIN)/python -m tests.bench
	$(BIN)/python -m tests.scale

kills: $(VENV)/tested  ## the daily report killed 210 times at random instants (takes some minutes)
	MAILLOG_FORENSICS_KILLS=210 $(BIN)/python -m pytest tests/test_archive.py -k killed

clean:
	rm -rf $(VENV) out build dist .pytest_cache .mypy_cache .ruff_cache
