"""Fotografa Resumo e Lado a lado para o README: ``python imagens/planilhas.py resultados/publicada``.

Abre ``comparacao.xlsx`` no LibreOffice (soffice), em português, e recorta a primeira página de cada aba (pdftoppm).
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHEETS = ("Resumo", "Lado a lado")
PORTUGUESE = """<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry">
<item oor:path="/org.openoffice.Setup/L10N">
<prop oor:name="ooSetupSystemLocale" oor:op="fuse"><value>pt-BR</value></prop>
</item>
</oor:items>
"""


def main() -> None:
    """Converte a planilha em PDF e grava uma imagem por aba."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rodada", type=Path, help="pasta da rodada, com comparacao.xlsx")
    parser.add_argument("--saida", type=Path, default=HERE, help="onde gravar planilha_*.png")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pdf = _pdf(options.rodada / "comparacao.xlsx", Path(folder))
        text = subprocess.run(["pdftotext", "-layout", pdf, "-"], check=True, capture_output=True, text=True).stdout
        for name in SHEETS:
            # Uma aba começa na primeira página cujo rodapé traz o nome dela.
            page = next(n for n, words in enumerate(text.split("\f"), start=1) if f"{name}, página" in words)
            target = options.saida / f"planilha_{name.lower().replace(' ', '_')}.png"
            _photograph(pdf, page, target)
            print(target)


def _pdf(workbook: Path, folder: Path) -> Path:
    profile = folder / "perfil" / "user"
    profile.mkdir(parents=True)
    (profile / "registrymodifications.xcu").write_text(PORTUGUESE, encoding="utf-8")
    office = ["soffice", "--headless", "--norestore", f"-env:UserInstallation=file://{folder / 'perfil'}"]
    subprocess.run([*office, "--convert-to", "pdf", "--outdir", folder, workbook], check=True, capture_output=True)
    return folder / f"{workbook.stem}.pdf"


def _photograph(pdf: Path, page: int, target: Path) -> None:
    from PIL import Image, ImageChops

    pages = ["-f", str(page), "-l", str(page), "-singlefile"]
    subprocess.run(["pdftoppm", "-png", "-r", "150", *pages, pdf, target.with_suffix("")], check=True)
    with Image.open(target) as image:
        body = image.convert("RGB").crop((0, 0, image.width, int(image.height * 0.94)))  # sem o rodapé
    blank = Image.new("RGB", body.size, "white")
    left, top, right, bottom = ImageChops.difference(body, blank).getbbox() or (0, 0, *body.size)
    body.crop((max(0, left - 20), max(0, top - 20), right + 20, bottom + 20)).save(target, optimize=True)


if __name__ == "__main__":
    main()
