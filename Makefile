# Everything starts from a bare checkout and Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# What the commands need, without the tools of tests and style.
PACKAGE := $(VENV)/.package
# The libraries that Qt and OpenGL want, and a screen for machines without one (Debian's names).
SCREEN := xvfb xauth libegl1 libgl1 libgl1-mesa-dri libglx-mesa0 libopengl0 libdbus-1-3 \
  libfontconfig1 libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 \
  libxcb-randr0 libxcb-render-util0 libxcb-shape0 libxcb-xinerama0 libxcb-xkb1 fonts-dejavu-core

# Three on two cores: tests wait for windows, disks and processes.
WORKERS := -n 3 --dist loadfile

# Those that need no data and no screen, and are over in minutes.
QUICK_BENCHMARKS := training_step interaction projective_field impact_matrix cw_ssim

.PHONY: help demo test coverage fuzz lint audit bench bench-gpu screen screenshots recording demo-model clean

help:
	@echo "make demo         a population, a fit, a report: the whole tour, in demo/"
	@echo "make test         install what is missing and run the tests"
	@echo "make coverage     the tests, and which lines they reach"
	@echo "make fuzz         files changed by chance, every reader, for an hour (MINUTES=60)"
	@echo "make lint         ruff, mypy, the arrows between folders, and the manifest"
	@echo "make audit        known vulnerabilities of the versions that were tested; asks PyPI"
	@echo "make bench        the quick benchmarks, which print ratios"
	@echo "make bench-gpu    the training step on an NVIDIA GPU: correct, how fast, a whole run"
	@echo "make screenshots  the pictures of the README, from real windows"
	@echo "make recording    the GIF of the README: a model fitted and fitted again, by mouse and keys"
	@echo "make demo-model   fit the small model that ships with the plugin"

$(PACKAGE): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(INSTALLED): $(PACKAGE)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e ".[qt,allen,test,lint]"
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt --no-deps allensdk
	@touch $@

screen:
	@command -v Xvfb >/dev/null && ldconfig -p | grep -q libxcb-cursor.so.0 \
	  && ldconfig -p | grep -q libEGL.so.1 || \
	if ! command -v apt-get >/dev/null; then echo "no apt-get here: if windows fail to open, install Xvfb and Qt's xcb libraries"; \
	elif [ "$$(id -u)" = 0 ]; then apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
	  apt-get -qq install -y --no-install-recommends $(SCREEN) >/dev/null; \
	else echo "Please run this line once, for a screen to test windows on:"; \
	  echo "  sudo apt-get install -y --no-install-recommends $(SCREEN)"; exit 1; fi

demo: $(PACKAGE)
	$(BIN)/python -m training.demo demo

test: $(INSTALLED) screen
	$(BIN)/python -m pytest $(WORKERS)

coverage: $(INSTALLED) screen
	$(BIN)/python -m pytest $(WORKERS) --cov --cov-report=term

MINUTES := 60
fuzz: $(INSTALLED)
	$(BIN)/python -m pytest tests/test_mutants.py --timeout 0 --fuzz-minutes $(MINUTES) --fuzz-seed $$(date +%s)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/npe2 validate src/napari_brainvae/napari.yaml

# In an environment of its own. Strict: a package that the service does not know is no pass.
audit:
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/pip install -q --disable-pip-version-check pip-audit
	$(VENV)/audit/bin/pip-audit --strict --disable-pip --no-deps -r constraints.txt

bench: $(INSTALLED)
	for b in $(QUICK_BENCHMARKS); do echo; echo "== $$b"; $(BIN)/python -m benchmarks.$$b || exit 1; done

bench-gpu: $(INSTALLED)
	$(BIN)/python -m pytest -q tests/training/test_sections.py tests/metrics
	$(BIN)/python -m benchmarks.training_step --device cuda --batch 64 --sections 1723 \
	  --steps 100 --warm-up 20 --whole-run

screenshots: $(INSTALLED) screen
	xvfb-run -a -s "-screen 0 1920x1200x24" $(BIN)/python docs/screenshots.py

recording: $(INSTALLED) screen
	PYTHONPATH=. xvfb-run -a -s "-screen 0 1920x1200x24" $(BIN)/python docs/record_loop.py

demo-model: demo
	$(BIN)/python tools/ship_demo_model.py demo

clean:
	rm -rf $(VENV) demo .pytest_cache .mypy_cache .ruff_cache
