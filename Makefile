# make demo      os quatro cadernos, com a amostra e um modelo pequeno, sem GPU e sem conta
# make test      todos os testes rápidos
# make lint      o estilo do código e dos cadernos, e os tipos
# make falhas    30 kill -9, disco cheio e Drive que some, na linha inteira, e os testes mais longos
# make colab     os cadernos e os testes com as versões do Colab, uma máquina por caderno
# make mutantes  erros plantados no código, um a um: quantos os testes veem
# make roda      o pacote (.whl), para enviar ao Colab
# make endereco REPO=dono/nome   escreve o endereço do repositório em todo lugar
# make publicar  refaz a rodada do repositório, as figuras e as tabelas das páginas
# make atualizar as versões mais novas, e os testes com elas
PYTHON ?= python3
FONTE  ?= amostra
RODADA ?= demonstracao
MODELO ?=
MODELO_GPT ?=
REPO   ?=
# Todas as linhas que a amostra tem para as duas faixas, todos os prompts e respostas do tamanho de uma descrição.
PUBLICADA ?= -p N_TREINO 264 -p N_TESTE 36 -p TOKENS_RESPOSTA 160 -p TRES_EXEMPLOS True -p FLEXIBILIDADE_POR_FAMILIA 0
COBERTURA ?=
VENV   := .venv
BIN    := $(VENV)/bin
export OMP_WAIT_POLICY ?= PASSIVE
# Com ela, cada processo compilaria de novo o que importa.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test openai lint falhas colab colab-cadernos mutantes roda endereco publicar telas atualizar instalar limpar

instalar: $(VENV)/.pronto

# A marca é escrita por último: se a instalação for interrompida, o próximo make continua de onde parou. Compilar todos
# os pacotes levaria um minuto a mais; o Python compila, na primeira vez, os poucos módulos que se importam.
$(VENV)/.pronto: requirements/pacotes.txt requirements/sem_dependencias.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --no-compile -r requirements/pacotes.txt
	$(BIN)/pip install -q --no-compile --no-deps -r requirements/sem_dependencias.txt
	$(BIN)/pip install -q --no-deps -e .
	touch $@

demo: instalar
	$(BIN)/python colab/executar.py --fonte "$(FONTE)" --rodada "$(RODADA)" --modelo "$(MODELO)" --modelo-gpt "$(MODELO_GPT)"

test: instalar
	$(BIN)/python -m pytest $(COBERTURA)

# O pacote openai do Colab é de outra versão maior: os testes que falam com ele valem para as duas.
openai: instalar
	$(BIN)/pip install -q --no-deps --upgrade --target $(VENV)/openai-2.54 openai==2.54.0 distro==1.9.0
	PYTHONPATH=$(VENV)/openai-2.54 $(BIN)/python -m pytest tests/test_gpt_*.py tests/test_local_api_protocol.py -m "not treino"

lint: instalar
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# O Triton, que um torch de CPU não traz, serve só ao ramo CUDA emulado. Pela ordem dos nomes, os grupos longos começam antes.
falhas: instalar
	test -d $(VENV)/triton || $(BIN)/pip install -q --no-deps --target $(VENV)/triton triton==3.6.0
	$(BIN)/python -m pytest -m "falhas or longo" --no-loadscope-reorder $(COBERTURA)

# O Colab simulado: as versões dele, menos o torch (o de CPU), o que só serve à GPU e o que o Python 3.13 pede a mais.
COLAB   := .venv-colab
SO_LA   := ^(torch|torchvision|triton|cuda-.*|nvidia-n.*|audioop-lts)==
colab: colab-cadernos
	$(COLAB)/bin/python -m pytest -p no:cacheprovider --ignore=tests/test_updating.py

colab-cadernos: $(COLAB)/.pronto
	$(COLAB)/bin/python tests/colab/simular.py

$(COLAB)/.pronto: tests/colab/pip-freeze.txt tests/colab/ferramentas.txt requirements/colab.txt requirements/colab_treino.txt
	$(PYTHON) -m venv $(COLAB)
	$(COLAB)/bin/pip install -q --no-compile $(shell grep '^torch==' requirements/pacotes.txt)
	grep -vE '$(SO_LA)' tests/colab/pip-freeze.txt > $(COLAB)/pacotes.txt
	$(COLAB)/bin/pip install -q --no-compile --no-deps -r $(COLAB)/pacotes.txt
	$(COLAB)/bin/pip install -q --no-compile --no-deps -r tests/colab/ferramentas.txt
	$(COLAB)/bin/pip install -q --no-compile --no-deps -r requirements/colab.txt -r requirements/colab_treino.txt
	touch $@

mutantes: instalar
	$(BIN)/python tests/mutantes.py

roda: instalar
	$(BIN)/python -m build --wheel --no-isolation --outdir dist .

endereco: instalar
	$(BIN)/python colab/endereco.py "$(REPO)"

# Refaz a rodada do repositório, sem pesos, as imagens das planilhas e as tabelas das páginas que vêm dela.
publicar: instalar
	rm -rf dados/publicada resultados/publicada
	$(BIN)/python colab/executar.py --rodada publicada --modelo "$(MODELO)" --modelo-gpt "$(MODELO_GPT)" $(PUBLICADA)
	rm -rf resultados/publicada/llama3/pontos resultados/publicada/gpt/api_local resultados/publicada/cadernos/*.ipynb
	rm -rf resultados/publicada/llama3/adaptador
	$(BIN)/python imagens/planilhas.py resultados/publicada
	$(BIN)/python resultados/paginas.py README.md resultados/publicada --gravar
	$(BIN)/python resultados/paginas.py resultados/LEIAME.md resultados/publicada --gravar

# As imagens da página, tiradas com os modelos de uma rodada que ainda tem os pesos.
telas: instalar
	$(BIN)/python imagens/telas.py resultados/$(RODADA)

# As versões mais novas que o pyproject aceita, e os testes com elas.
atualizar: instalar
	$(BIN)/python requirements/atualizar.py
	$(BIN)/python tests/colab_set.py
	$(MAKE) test

limpar:
	rm -rf $(VENV) $(COLAB) dist mutants unsloth_compiled_cache .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage*
