# make demo   a linha de produção inteira, com a amostra e um modelo pequeno, sem GPU e sem conta
# make test   todos os testes
PYTHON ?= python3
FONTE  ?= amostra
RODADA ?= demonstracao
VENV   := .venv
BIN    := $(VENV)/bin
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test lint instalar limpar

instalar: $(VENV)/.pronto

# A marca é escrita por último: se a instalação for interrompida, o próximo make continua de onde parou.
$(VENV)/.pronto: requirements/pacotes.txt requirements/sem_dependencias.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -r requirements/pacotes.txt
	$(BIN)/pip install -q --no-deps -r requirements/sem_dependencias.txt
	$(BIN)/pip install -q --no-deps -e .
	touch $@

demo: instalar
	$(BIN)/python colab/executar.py --fonte "$(FONTE)" --rodada "$(RODADA)"

test: instalar
	$(BIN)/python -m pytest

lint: instalar
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

limpar:
	rm -rf $(VENV) unsloth_compiled_cache .pytest_cache .ruff_cache .hypothesis
