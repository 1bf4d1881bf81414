# make demo   a linha de produção inteira, com a amostra e um modelo pequeno, sem GPU e sem conta
# make test   todos os testes
# make lint   o estilo do código e dos cadernos
PYTHON ?= python3
FONTE  ?= amostra
RODADA ?= demonstracao
VENV   := .venv
BIN    := $(VENV)/bin
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test lint publicar instalar limpar

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

# O pacote openai do Colab é de outra versão maior: os testes do braço GPT valem para as duas.
$(VENV)/openai-2.54: $(VENV)/.pronto
	$(BIN)/pip install -q --no-deps --upgrade --target $@ openai==2.54.0 distro==1.9.0
	touch $@

test: instalar $(VENV)/openai-2.54
	$(BIN)/python -m pytest

# Refaz a rodada do repositório, sem pesos, e a tabela do README que vem dela.
publicar: instalar
	rm -rf dados/publicada resultados/publicada
	$(BIN)/python colab/executar.py --rodada publicada -p TRES_EXEMPLOS True
	rm -rf resultados/publicada/llama3/pontos resultados/publicada/gpt/api_local resultados/publicada/cadernos/*.ipynb
	rm -rf resultados/publicada/llama3/adaptador
	$(BIN)/python -m finetune_helpers.comparison.readme README.md resultados/publicada --gravar

lint: instalar
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

limpar:
	rm -rf $(VENV) unsloth_compiled_cache .pytest_cache .ruff_cache .hypothesis
