"""Refaz as telas da página: ``python imagens/telas.py resultados/demonstracao``, com uma rodada que tenha pesos."""

import argparse
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from finetune_helpers import interface, records

HERE = Path(__file__).resolve().parent
HEAVY = shutil.ignore_patterns("pontos", "cadernos", "votos.jsonl")
PATIENCE = 600_000  # milissegundos: a primeira resposta carrega o modelo


def main() -> None:
    """Copia a rodada (o voto da tela não entra na dela), abre a página e fotografa as três abas."""
    asked = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        run, data = Path(folder) / "resultados" / asked.rodada.name, Path(folder) / "dados" / asked.rodada.name
        shutil.copytree(asked.rodada, run, ignore=HEAVY)
        shutil.copytree(asked.rodada.resolve().parents[1] / "dados" / asked.rodada.name, data)
        titles = [item.title for item in records.read_items(data / "comparacao" / "teste.jsonl")]
        page = interface.open_page(run, inline=False)
        try:
            _photograph(page.url, titles, asked.largura, asked.saida, asked.navegador)
        finally:
            page.close()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rodada", type=Path, help="pasta da rodada, com os pesos das duas trilhas")
    parser.add_argument("--largura", type=int, default=1280, help="largura da janela, em pixels")
    parser.add_argument("--saida", type=Path, default=HERE, help="onde gravar interface_*.png")
    parser.add_argument("--navegador", default="/usr/bin/chromium", help="o Chromium que abre a página")
    return parser.parse_args()


def _photograph(url: str, titles: list[str], width: int, output: Path, browser: str) -> None:
    with sync_playwright() as driver:
        window = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        tab = window.new_page(viewport={"width": width, "height": 900})
        tab.set_default_timeout(PATIENCE)
        tab.goto(url)
        for name, play in (("perguntar", _ask), ("comparar", _compare), ("resultados", _results)):
            tab.get_by_role("tab", name=name.capitalize()).click()
            play(tab, titles)
            tab.mouse.move(0, 0)
            height = min(1700, tab.evaluate("document.documentElement.scrollHeight"))
            tab.set_viewport_size({"width": width, "height": height})
            tab.wait_for_timeout(1500)
            tab.screenshot(path=output / f"interface_{name}.png")
            tab.set_viewport_size({"width": width, "height": 900})
        window.close()


def _ask(tab: Page, titles: list[str]) -> None:
    tab.locator("#sistema input").click()
    tab.get_by_role("option", name="Trilha LLaMA, ajustado").click()
    tab.locator("#perguntar-texto textarea").fill(titles[0])
    tab.click("#perguntar-pedir")
    tab.wait_for_selector("#parecido-3", state="visible")


def _compare(tab: Page, titles: list[str]) -> None:
    tab.locator("#comparar-texto textarea").fill(titles[1])
    tab.locator("#par input").click()
    tab.get_by_role("option", name="Trilha LLaMA, ajustado × Trilha GPT, ajustado").click()
    tab.click("#comparar-pedir")
    tab.locator("#voto-ambas_ruins:enabled").click()
    tab.wait_for_selector("#revelacao", state="visible")


def _results(tab: Page, titles: list[str]) -> None:
    tab.locator("#tabela").get_by_text("Trilha GPT, ajustado").first.wait_for()
    tab.wait_for_selector("#figura-diferencas img")


if __name__ == "__main__":
    main()
