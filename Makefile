# Two commands do everything on a machine with Python and a network:
#   make demo    train, quantize, export, run on Lava, compare, report (runs/demo)
#   make test    the checks and tests
# Both set up their own environment in .venv first; later runs start at once.

# The first of these that is 3.10 to 3.13, on which Lava was run; make test PYTHON=python3.12 chooses.
PYTHON := python3.10 python3.12 python3.13 python3.11 python3 python
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo widths jelly-baseline grid-options test test-all lint unit quick docs figures zoo studies carriers counters depth tutorials resources chips constructions mapping energy bench goldens hostile forwards signals prove mutate notebooks jelly clean steady nir libraries reading gpu recipes scale reports arm

demo: $(READY)
	$(BIN)/neuroport demo --out runs/demo

test: lint unit

# Types are checked against the NumPy and torch of Python 3.10; newer ones declare other types.
lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info >= (3, 11))'; then \
	  echo $(BIN)/mypy; $(BIN)/mypy; \
	else echo 'mypy: not run; types are checked with Python 3.10'; fi

# A worker that crashes ends the run: xdist would wait for its tests for ever.
unit: $(READY)
	OMP_WAIT_POLICY=passive $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0 --durations 25 $(TESTS)

# Every case of every test, also those that make test samples (tests/tiers.py); long.
test-all: $(READY)
	NEUROPORT_TESTS=all OMP_WAIT_POLICY=passive $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0 --durations 25 -m ''

# What a contributor runs between edits: no Lava, no training, under 90 s on two cores.
quick: $(READY)
	OMP_WAIT_POLICY=passive $(BIN)/pytest -n 2 --dist worksteal --max-worker-restart 0 -p tests.quick

# The documentation site, in site/; a warning is an error. Then: python -m http.server -d site
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

# The long proof that all engines agree, on thousands of random networks; goes on where it was.
prove: $(READY)
	$(BIN)/python -m benchmarks.prove

# The networks that lava-dl ships, whole, against their ground truth (tests/golden/results.json).
goldens: $(READY)
	$(BIN)/python -m tests.golden.measure

# Reads 10,000 mutated files and writes tests/hostile/results.json (a quarter of an hour).
hostile: $(READY)
	OMP_NUM_THREADS=1 nice $(BIN)/python -m tests.hostile --count 10000

# Captures 2,000 random forward passes, written as people write them: equal to the module or refused
# with a line (tests/forwards/results.json); a quarter of an hour.
forwards: $(READY)
	OMP_NUM_THREADS=1 nice $(BIN)/python -m tests.forwards --count 2000

# The compiled kernels for 64-bit ARM, emulated, against the reference (tests/arm/results.json); some
# minutes. Wants Debian's gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user.
arm: $(READY)
	OMP_NUM_THREADS=1 nice $(BIN)/python -m tests.arm

# 300 random networks of NIR in, out and on Lava (tests/nir/results.json); goes on where it was. Then
# written out, and run by snnTorch, Norse and SpikingJelly in an environment of their own, of a newer
# Python, which SpikingJelly needs (tests/nir/exchanged.json).
NIR_TOOLS := runs/nir-tools
nir: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.nir
	@for python in python3.11 python3.12 python3.13; do \
	  if [ ! -e $(NIR_TOOLS)/bin/python ] && $$python -c '' 2>/dev/null; then \
	    $$python -m venv $(NIR_TOOLS) && $(NIR_TOOLS)/bin/python -m pip install --quiet \
	      --disable-pip-version-check nir==1.0.8 nirtorch==2.6 norse==1.1.0 snntorch==1.0.0 \
	      spikingjelly==2.0.0; \
	  fi; \
	done
	if [ -e $(NIR_TOOLS)/bin/python ]; then \
	  OMP_NUM_THREADS=1 $(BIN)/python -m tests.nir.exchange --python $(NIR_TOOLS)/bin/python; fi

# Networks of snnTorch and SpikingJelly, from training in their library to Lava
# (tests/libraries/results.json); goes on where it was. SpikingJelly's run where there is a Python that
# it runs on, newer than Lava's.
libraries: $(READY) jelly
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.libraries
	if [ -e $(JELLY_LAVA)/bin/python ]; then \
	  OMP_NUM_THREADS=1 $(JELLY_LAVA)/bin/python -m tests.libraries; fi

# Executes the notebooks of examples/notebooks, which the site shows; some minutes. SpikingJelly's is
# executed where there is a Python that it runs on.
notebooks: $(READY) jelly
	OMP_WAIT_POLICY=passive $(BIN)/python -m tools.notebooks
	if [ -e $(JELLY_LAVA)/bin/python ]; then \
	  $(JELLY_LAVA)/bin/python -m pip install --quiet --disable-pip-version-check \
	    ipykernel jupytext matplotlib nbclient && \
	  OMP_WAIT_POLICY=passive $(JELLY_LAVA)/bin/python -m tools.notebooks spikingjelly_network; fi

# An environment with SpikingJelly and Lava, if there is a Python for it.
JELLY_LAVA := runs/jelly
jelly:
	@for python in python3.11 python3.12 python3.13; do \
	  if [ ! -e $(JELLY_LAVA)/bin/python ] && $$python -c '' 2>/dev/null; then \
	    $$python -m venv $(JELLY_LAVA) && $(JELLY_LAVA)/bin/python -m pip install --quiet \
	      --disable-pip-version-check '.[train,lava,spikingjelly]' && \
	      $(JELLY_LAVA)/bin/neuroport backends --install lava --yes; \
	  fi; \
	done

# SpikingJelly's MS-ResNet by a recipe of ours (docs/baselines.json); goes on where it was; some hours.
jelly-baseline: jelly
	if [ -e $(JELLY_LAVA)/bin/python ]; then OMP_WAIT_POLICY=passive \
	  $(JELLY_LAVA)/bin/python -m benchmarks.jelly_baseline ms_resnet20_fashion_mnist; fi

# Ends, kills and stops verbs at many moments (benchmarks/signals.json); goes on where it was; an hour.
signals: $(READY)
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks.signals --jobs 2

# Takes every shipped recipe, its epochs cut, from random data in the real files to Lava
# (benchmarks/recipes.json); goes on where it was; an hour or two.
recipes: $(READY)
	OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks.recipes

# Remakes models/ms_resnet8_mnist and every figure of the README from nothing.
figures: $(READY)
	OMP_WAIT_POLICY=passive $(BIN)/python examples/make_figures.py

# Trains every other model of models/ again and compares every engine on it.
zoo: $(READY)
	OMP_WAIT_POLICY=passive $(BIN)/python models/remake.py

# Seven studies of the families (docs/studies.md and docs/studies/); goes on where it was.
studies: $(READY)
	OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1 $(BIN)/python -m examples.studies all

# What each carrier of a shortcut costs on Lava (docs/carriers.md and .json); some minutes.
carriers: $(READY)
	OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks.carriers

# Counters in the process graph against full rasters on Lava (docs/counters.json); some minutes.
counters: $(READY)
	OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks.counters

# Memory, descriptors and files of many runs and of long ones (docs/steady.json); half an hour.
steady: $(READY)
	OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.steady

# Counting on Lava, clusters of real processes, and what is killed of them (docs/scale.json); goes on
# where it was; half an hour, and wants an idle machine.
scale: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.scale

# Cores of each carrier on Loihi 2, by the fitted formulas (docs/resources.md and .json).
resources: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.resources

# The networks of models/ as lowered for Kapoho Point, on Lava's CPU simulator and through the
# stand-ins for its closed modules (docs/chips.json, docs/resources.md); long, goes on where it was.
chips: $(READY)
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks.chips

# Stems and projections that round, and that do not, as lowered for Kapoho Point (docs/constructions.json,
# docs/resources.md); trains a little, goes on where it was.
constructions: $(READY)
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks.constructions

# Sizes of the reports of all trained networks, and pictures of one (docs/reports.json, docs/report.md).
reports: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.reports

# Work, energy and time of the trained networks, counted on their frames (docs/energy.md and .json).
energy: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.energy

# Messages between chips of trained networks, mapped and in order (docs/mapping.md and .json).
mapping: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.mapping

# The published depths at their published widths, from torch to a file (docs/depth.json).
# Goes on where it was.
depth: $(READY)
	OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks.depth

# Networks of lava-dl's tutorials, trained for some steps, on Lava as SLAYER runs them
# (docs/slayer_tutorials.json and the table of docs/slayer.md); some minutes.
tutorials: $(READY)
	OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.tutorials

# What proven widths cost deep networks, and checked ones save (docs/widths.json, docs/widths.md);
# about 15 minutes on one core.
widths: $(READY)
	OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.widths

# What equalized channels and corrected biases recover without training (docs/grid_options.json,
# docs/grid_options.md); about 20 minutes on one core. Goes on where it was.
grid-options: $(READY)
	OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.grid_options

# How many pictures and recordings a second are read for training (docs/reading.json and the table of
# docs/devices.md); some minutes, wants an idle machine.
reading: $(READY)
	OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.reading

# Bits and times on a GPU (docs/gpu.json), under eight minutes; on a CPU: python -m benchmarks.gpu --reduced
gpu: $(READY)
	$(BIN)/python -m benchmarks.gpu

# Every figure of docs/performance.md, side by side; wants an idle machine.
# SpikingJelly is compared where there is a Python that it runs on, newer than Lava's.
JELLY := runs/spikingjelly
bench: $(READY)
	@for python in python3.11 python3.12 python3.13; do \
	  if [ ! -e $(JELLY)/bin/python ] && $$python -c '' 2>/dev/null; then \
	    $$python -m venv $(JELLY) && $(JELLY)/bin/python -m pip install --quiet \
	      --disable-pip-version-check spikingjelly==2.0.0 torch==2.13.0; \
	  fi; \
	done
	$(BIN)/python -m benchmarks.speed $$(ls $(JELLY)/bin/python 2>/dev/null | sed 's/^/--spikingjelly /')
	@grep -qs avx512 /proc/cpuinfo || exit 0; echo with AVX2 alone; \
	  $(BIN)/python -m benchmarks.speed --held-to-avx2 \
	    $$(ls $(JELLY)/bin/python 2>/dev/null | sed 's/^/--spikingjelly /')

# Changes every line of the integer arithmetic, the engines and the passes, and sees whether a test
# fails (tests/mutation/results.json); half an hour.
mutate: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev,docs,mutation]'
	OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1 $(BIN)/python -m tests.mutation

$(READY): pyproject.toml constraints.txt Makefile
	@set -e; \
	for python in $(PYTHON); do \
	  if $$python -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then \
	    found=$$python; break; \
	  fi; \
	done; \
	if [ -n "$$found" ]; then $$found -m venv $(VENV); \
	elif command -v uv >/dev/null; then uv venv --allow-existing --seed --python 3.12 $(VENV); \
	else \
	  echo "neuroport: Lava was run on Python 3.10 to 3.13; install one of them (with venv) or uv, then run make again" >&2; \
	  exit 2; \
	fi; \
	echo "installing into $(VENV) for $$($(BIN)/python --version) (2.5 GB to download with torch, once)"; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev,docs]'; \
	if $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
	  for package in lava lava-dl; do $(BIN)/neuroport backends --install $$package --yes >$(VENV)/$$package.log 2>&1 \
	    || { cat $(VENV)/$$package.log >&2; exit 2; }; done; \
	fi; \
	touch $(READY)

clean:
	rm -rf $(VENV) runs build dist site
