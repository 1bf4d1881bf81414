# make demo   a linha de produção inteira, com a amostra e um modelo pequeno, sem GPU e sem conta
# make test   todos os testes
# make colab  os cadernos e os testes com as versões do Colab, sem o projeto ao lado
# make falhas 30 kill -9, disco cheio e Drive que some, na linha inteira, e os testes mais longos
# make lint   o estilo do código e dos cadernos, e os tipos
# make atualizar   as versões mais novas e os testes com elas
PYTHON ?= python3
FONTE  ?= amostra
RODADA ?= demonstracao
VENV   := .venv
BIN    := $(VENV)/bin
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test colab colab-cadernos falhas lint atualizar publicar telas instalar limpar

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
	$(BIN)/python -m pytest --cov --cov-report=term

# O Colab simulado: as versões dele, menos o torch (o de CPU), o que só serve à GPU e o que o Python 3.13 pede a mais.
# Só o teste de `make atualizar` fica de fora: ele confere os pacotes do outro ambiente.
COLAB   := .venv-colab
SO_LA   := ^(torch|torchvision|triton|cuda-.*|nvidia-n.*|audioop-lts)==
colab: colab-cadernos
	$(COLAB)/bin/python -m pytest -p no:cacheprovider --ignore=tests/test_updating.py

colab-cadernos: $(COLAB)/.pronto
	$(COLAB)/bin/python tests/colab/simular.py

$(COLAB)/.pronto: tests/colab/pip-freeze.txt tests/colab/ferramentas.txt requirements/colab.txt
	$(PYTHON) -m venv $(COLAB)
	$(COLAB)/bin/pip install -q $(shell grep '^torch==' requirements/pacotes.txt)
	grep -vE '$(SO_LA)' tests/colab/pip-freeze.txt > $(COLAB)/pacotes.txt
	$(COLAB)/bin/pip install -q --no-deps -r $(COLAB)/pacotes.txt
	$(COLAB)/bin/pip install -q --no-deps -r tests/colab/ferramentas.txt
	$(COLAB)/bin/pip install -q --no-deps -r requirements/colab.txt
	touch $@

falhas: instalar
	$(BIN)/python -m pytest -m "falhas or longo"

# Refaz a rodada do repositório, sem pesos, e a tabela do README que vem dela.
publicar: instalar
	rm -rf dados/publicada resultados/publicada
	$(BIN)/python colab/executar.py --rodada publicada -p TRES_EXEMPLOS True
	rm -rf resultados/publicada/llama3/pontos resultados/publicada/gpt/api_local resultados/publicada/cadernos/*.ipynb
	rm -rf resultados/publicada/llama3/adaptador
	$(BIN)/python -m finetune_helpers.comparison.readme README.md resultados/publicada --gravar

# As imagens da página, tiradas com os modelos de uma rodada que ainda tem os pesos.
telas: instalar
	$(BIN)/python imagens/telas.py resultados/$(RODADA)

lint: instalar
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# As versões mais novas que o pyproject aceita, e os testes com elas.
atualizar: instalar
	$(BIN)/python requirements/atualizar.py
	$(BIN)/python tests/colab_set.py
	$(MAKE) test

limpar:
	rm -rf $(VENV) $(COLAB) unsloth_compiled_cache .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage*
