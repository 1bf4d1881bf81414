"""Escreve o endereço do repositório e a versão em distintivos, cadernos e páginas: ``make endereco REPO=dono/nome``."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["pyproject.toml", "README.md", "README.en.md", "CHANGELOG.md", "CONTRIBUTING.md"]
HOSTS = r"((?:https://github\.com|google\.com/github|raw\.githubusercontent\.com)/)"


def main(repository: str) -> int:
    """Troca o endereço; devolve 2, com a forma certa, se ``repository`` não é dono/nome."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        print(f'"{repository}" não é um repositório. Use: make endereco REPO=dono/nome', file=sys.stderr)
        return 2
    known = re.search(r'^Repository = "https://github.com/([\w.-]+/[\w.-]+)"', (ROOT / PAGES[0]).read_text(), re.M)[1]
    module = (ROOT / "src" / "finetune_helpers" / "__init__.py").read_text(encoding="utf-8")
    version = re.search(r'__version__ = "([^"]+)"', module)[1]
    for path in [*(ROOT / page for page in PAGES), *sorted((ROOT / "colab").glob("*.ipynb"))]:
        text = re.sub(HOSTS + re.escape(known), rf"\g<1>{repository}", path.read_text(encoding="utf-8"))
        text = re.sub(rf"({re.escape(repository)}@v)[\d.]+\d", rf"\g<1>{version}", text)
        path.write_text(re.sub(r"(finetune_helpers-)[\d.]+(-\*\.whl)", rf"\g<1>{version}\g<2>", text), encoding="utf-8")
    print(f"Endereço: {repository} · versão: {version}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
