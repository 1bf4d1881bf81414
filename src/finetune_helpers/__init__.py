"""Ajuste fino e comparação de modelos de fundação: tudo o que decide ou calcula nos cadernos de ``colab/``.

O chão comum são os módulos desta pasta (``records``, ``errors``, ``tokens``, ``prices``, ``prompts``, ``runs``,
``answers``); cada subpasta serve um caderno: ``curation`` (01), ``training`` (02), ``gpt`` e ``local_api`` (03),
``comparison`` (04).
"""

__version__ = "0.1.0"
