"""O que os testes de falhas mudam em todos os processos da linha, por variáveis de ambiente."""

import os

if os.environ.get("FALHA_SALVAR"):
    from dataclasses import replace

    from finetune_helpers.training import profiles

    # Pontos de retomada a cada poucos segundos: senão um treino de brinquedo acaba antes do primeiro.
    profiles.BY_NAME["cpu"] = replace(profiles.BY_NAME["cpu"], save_minutes=float(os.environ["FALHA_SALVAR"]))

if os.environ.get("FALHA_RELOGIO"):
    import time

    _time, _time_ns, _jump = time.time, time.time_ns, float(os.environ["FALHA_RELOGIO"])

    def _offset() -> float:
        # Adianta e atrasa de dois em dois segundos.
        return _jump if int(time.monotonic() / 2) % 2 else -_jump

    time.time = lambda: _time() + _offset()
    time.time_ns = lambda: _time_ns() + int(_offset() * 1e9)
