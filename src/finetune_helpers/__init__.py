"""Ajuste fino e comparação de modelos de fundação: tudo o que decide ou calcula nos cadernos de ``colab/``.

A base comum são os módulos desta pasta: ``records``, ``errors``, ``tokens``, ``prices``, ``prompts``, ``runs``,
``answers``, ``votes``, ``progress``, ``portuguese``, ``estimates``, ``embeddings`` e ``colab``. Cada subpasta serve a
um caderno: ``curation`` (01), ``training`` (02 e 05), ``gpt`` (03), ``comparison`` (04) e ``interface`` (06). A API
local de ajuste fino é outro pacote da mesma distribuição, ``local_finetune_api``.
"""

__version__ = "0.1.0"
