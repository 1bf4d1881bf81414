"""``python -m finetune_helpers.interface RODADA`` abre a página da rodada; Ctrl+C a fecha."""

import argparse
import os
import sys
from pathlib import Path

from ..errors import FinetuneError


def main(arguments: list[str] | None = None) -> int:
    """Abre a página e espera; devolve 1, com uma só mensagem, se ela não abre."""
    parser = argparse.ArgumentParser(
        prog="python -m finetune_helpers.interface", description="Página para perguntar, comparar e ver resultados."
    )
    base = os.environ.get("FINETUNE_PASTA", ".")
    parser.add_argument("rodada", help="nome da rodada, ou a pasta dela")
    parser.add_argument("--pasta", default=base, help="onde ficam dados/ e resultados/")
    parser.add_argument("--porta", type=int, help="porta desta máquina; sem ela, a primeira livre a partir de 7860")
    parser.add_argument("--compartilhar", action="store_true", help="endereço público, com senha sorteada")
    parser.add_argument("--endereco", default="", help="endereço do provedor da trilha GPT, se ele pede um (Azure)")
    parser.add_argument("--perguntas-pagas", type=int, default=0, help="quantas perguntas um provedor pago recebe")
    parser.add_argument("--segundos", type=float, default=0, help="fecha sozinha depois deste tempo (0: fica aberta)")
    asked = parser.parse_args(arguments)
    from . import Access, find, open_page

    folder = Path(asked.rodada)
    run = folder if folder.is_dir() else Path(asked.pasta) / "resultados" / asked.rodada
    try:
        systems = find(run, Access(base_url=asked.endereco, paid_questions=asked.perguntas_pagas))
        page = open_page(run, systems=systems, port=asked.porta, share=asked.compartilhar, inline=False)
    except FinetuneError as error:
        print(f"Erro: {error}", file=sys.stderr)
        return 1
    print(page.presentation(), flush=True)
    page.wait(asked.segundos)
    return 0


if __name__ == "__main__":
    sys.exit(main())
