# Every target sets up what it needs; only Python 3.11+, git and make have to be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := distd peers tests bench
# Several daemons at once: not beside other tests, or they wait for a processor instead of for each other. Those that
# count questions and answers, and not bytes against time, bear company of their like.
FLEETS := tests/swarm tests/sharing tests/fleet tests/chaos
# Hosts of their own, which need namespaces: make shapes.
SHAPES := tests/shapes
# By hand, with make swarm: a pull on a machine that is quick at the moment is over before the network breaks; and daemons
# that wait for clocks, names and addresses to be found out take a quarter of a minute.
BY_HAND := $(addprefix --ignore=tests/,swarm/test_partition.py fleet/test_addresses.py)

.DEFAULT_GOAL := help
.PHONY: help blame scale setup interop demo check test swarm sim kill chaos bench eta fleet encryption limits streams api screenshots packagetest install uninstall deb format lock clean partition reader crowd storms shapes sessions

# Where `make install` puts things; DESTDIR=/some/root installs into a root that is packed or copied later.
PREFIX ?= /opt/distd
BINDIR ?= /usr/local/bin
DESTDIR ?=

help: ## what the targets do
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

setup: $(VENV)/.installed ## a virtual environment with everything, in .venv

$(VENV)/.installed: requirements/dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "distd needs Python 3.11 or later: make PYTHON=/path/to/python3.11")'
	@echo "setting up $(VENV) (once, about half a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

interop: .venv-olah/.installed ## Olah in an environment of its own, for the test that puts it in front of the Hub

.venv-olah/.installed: requirements/olah.lock
	@$(PYTHON) -m venv .venv-olah
	@.venv-olah/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/olah.lock
	@touch $@

demo: setup ## a local Hub, three daemons, one pull on all, each cache loaded offline (REPO=org/name: the real Hub)
	@$(BIN)/python -m tests.demo $(if $(REPO),--repo $(REPO))

check: setup ## format, lint, types and architecture rules
	@$(BIN)/ruff format --check --quiet $(SOURCES) || { echo "run: make format"; exit 1; }
	@$(BIN)/ruff check --quiet $(SOURCES)
	@$(BIN)/mypy
	@$(BIN)/pytest -q tests/test_architecture.py

test: check ## check, and every test
	@$(BIN)/pytest -q -n 3 --dist loadfile $(addprefix --ignore=,$(FLEETS) $(SHAPES))
	@$(BIN)/pytest -q -n 2 --dist loadfile $(BY_HAND) $(FLEETS)

swarm: setup ## the tests with several daemons, held to the strict number of bytes from the Hub
	@SWARM_STRICT=1 $(BIN)/pytest -q -s $(FLEETS)

blame: setup ## three bad of eight, simulated and real daemons: named with evidence, the good ones publish in 1.5 x their clean time
	@BLAME_FULL=1 BLAME_SEEDS=$(or $(BLAME_SEEDS),26) $(BIN)/pytest -q -s tests/swarm/test_blame.py tests/sim/test_blame.py --timeout 900

sim: setup ## the simulated cluster and weeks of a full disk over many seeds (SIM_SEEDS=1000), or one again (SEED=7 MEMBERS=12)
	@$(if $(SEED),$(BIN)/python -m tests.sim --seed $(SEED) $(if $(MEMBERS),--members $(MEMBERS)),SIM_SEEDS=$(or $(SIM_SEEDS),1000) WEEK_SEEDS=20 $(BIN)/pytest -q -n 2 tests/sim tests/core/test_quota_week.py --timeout 1800)

scale: setup ## simulated clusters of up to 1,000 members, a twentieth dying: what is said per member, as a curve (8 min)
	@$(BIN)/python -m tests.sim.scale $(BENCH)

storms: setup ## simulated clusters that hundreds join within a second, or in which members restart every few seconds (2 min)
	@$(BIN)/python -m tests.sim.storms

crowd: setup ## 64 real daemons on this machine, idle and pulling a small model while three die (5 GB of memory, 10 min)
	@$(BIN)/python -m bench.crowd $(BENCH)

shapes: setup ## members that are hosts of their own: IPv6, mixed families, NAT, a name server (needs namespaces and nft; 3 min)
	@$(BIN)/python -m tests.shapes

kill: setup ## 20 SIGKILLs in a pull of 1 GiB
	@KILL_POINTS=20 KILL_MIB=1024 $(BIN)/pytest -q -s tests/daemon/test_kill.py --timeout 1800

chaos: setup ## three daemons under a workload and 200 SIGKILLs (SEED=1 KILLS=200 draw another, or a shorter one)
	@CHAOS_SEED=$(or $(SEED),1) CHAOS_KILLS=$(or $(KILLS),200) $(BIN)/pytest -q -s tests/chaos --timeout 7200

partition: setup ## the cluster's network broken in the middle of a pull, healed later and never (needs namespaces, as fleet does)
	@$(BIN)/python -m bench.partition $(BENCH)

reader: setup ## what a process that reads files at full speed loses beside a pull at 25 MB/s, and beside curl at that rate
	@$(BIN)/python -m bench.reader $(BENCH)

bench: setup ## one node next to hf download and aria2c (results belong into bench/README.md)
	@$(BIN)/python -m bench.single $(BENCH)

eta: setup ## estimates of time left of real daemons against what happened (BENCH="steady halves" for some)
	@$(BIN)/python -m bench.eta $(BENCH)

fleet: setup ## a fleet in network namespaces next to hf download and BitTorrent (needs root or user namespaces)
	@$(BIN)/python -m bench.fleet $(BENCH)

sessions: setup ## what one libtorrent session moves, and several in a process
	@$(BIN)/python -m bench.sessions $(BENCH)

encryption: setup ## CPU per GB of each encryption mode between members, next to none
	@$(BIN)/python -m bench.encryption $(BENCH)

limits: setup ## whether bandwidth limits hold in a fleet, measured at its network cards (needs namespaces, as fleet does)
	@$(BIN)/python -m bench.limits $(BENCH)

streams: setup ## what event streams cost the daemon, idle and while a pull goes on
	@$(BIN)/python -m bench.streams $(BENCH)

api: setup ## a daemon asked all that its OpenAPI document describes, well and badly formed (SEED=1 as another time; 3 min)
	@API_FULL=1 $(BIN)/pytest -q -s tests/api/test_conformance.py

screenshots: setup ## the pictures in docs/img, of real runs (needs chromium)
	@$(BIN)/python -m tests.screenshots

packagetest: setup ## build the Debian package, install, upgrade and remove it in a fresh root, run the daemon there (needs root)
	@PACKAGE_TEST=1 $(BIN)/pytest -q -s tests/service --timeout 900

install: ## the program with its own environment, the systemd unit, the configuration (PREFIX=/opt/distd DESTDIR=)
	@PREFIX="$(PREFIX)" BINDIR="$(BINDIR)" DESTDIR="$(DESTDIR)" PYTHON="$(PYTHON)" sh packaging/install.sh

uninstall: ## what make install put there; the cache and the configuration stay
	@PREFIX="$(PREFIX)" BINDIR="$(BINDIR)" DESTDIR="$(DESTDIR)" sh packaging/uninstall.sh

deb: ## dist/distd_VERSION_ARCH.deb, which carries its own environment (PYTHON=/usr/bin/python3)
	@PYTHON="$(if $(filter-out python3,$(PYTHON)),$(PYTHON),/usr/bin/python3)" sh packaging/deb.sh

format: setup ## format the sources
	@$(BIN)/ruff format --quiet $(SOURCES)
	@$(BIN)/ruff check --quiet --fix $(SOURCES)

lock: setup ## renew requirements/*.lock from pyproject.toml
	@$(BIN)/pip install --quiet uv
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links \
	    --generate-hashes --no-header --group dev pyproject.toml -o requirements/dev.lock --upgrade
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links \
	    --generate-hashes --no-header -c requirements/dev.lock pyproject.toml -o requirements/distd.lock

clean: ## remove what setup and tests made
	@rm -rf $(VENV) .venv-olah .hypothesis .pytest_cache .mypy_cache .ruff_cache .demo build dist
