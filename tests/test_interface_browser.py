"""A página num navegador de verdade: perguntar, parar, votar, baixar e tudo o que não pode acontecer nela."""

import json
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Lock
from urllib.parse import urlparse

import httpx
import pytest
from interface_systems import ROOT, SCRIPT, dying, echo, empty_run, hostile, patient, published, script

from finetune_helpers import interface, votes
from finetune_helpers.errors import MachineError
from finetune_helpers.interface import systems

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
pytestmark = pytest.mark.skipif(not CHROMIUM.is_file(), reason="o Chromium não está instalado (apt install chromium)")
LOOPBACK = {"127.0.0.1", "localhost", ""}
ENDED = r"^(Pronto|Resposta interrompida|O modelo|Escreva|A pergunta).*[^…]$"
fetch = partial(httpx.get, trust_env=False, timeout=60)


@pytest.fixture(scope="module")
def browser():
    """O Chromium do sistema, sem janela."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def visit(browser):
    """Abre a página como um visitante novo; ao fim, confere que nada saiu desta máquina e nada quebrou nela."""
    contexts, requested, broken = [], [], []

    def enter(page, width=1280):
        context = browser.new_context(viewport={"width": width, "height": 900}, locale="en-US")
        contexts.append(context)
        tab = context.new_page()
        tab.set_default_timeout(300_000)  # a primeira pergunta carrega o modelo dos títulos
        tab.on("request", lambda request: requested.append(request.url))
        tab.on("pageerror", lambda error: broken.append(str(error)))
        tab.goto(page.url)
        tab.wait_for_selector("#perguntar-pedir")
        return tab

    yield enter
    for context in contexts:
        context.close()
    assert requested and {urlparse(url).hostname or "" for url in requested} <= LOOPBACK
    assert broken == []


@pytest.fixture(scope="module")
def page(toy_tuned, tmp_path_factory):
    """A página de uma rodada publicada: um LLaMA minúsculo de verdade, base e ajustado, e roteiros."""
    machine = Lock()
    toy = [script(f"llama3-{role}", systems.local_writer(lambda: toy_tuned, role == "tuned"), machine)
           for role in ("base", "tuned")]  # fmt: skip
    scripts = [script(write.__name__, write) for write in (echo, hostile, dying, patient)]
    opened = interface.open_page(
        published(tmp_path_factory.mktemp("pagina")), systems=systems.Systems((*toy, *scripts)), inline=False
    )
    yield opened
    opened.close()


def choose(tab, name, text, kind="Título de um livro"):
    """Escolhe quem responde e escreve a pergunta."""
    tab.locator("#sistema input").click()
    tab.get_by_role("option", name=f"{name}@1").click()
    tab.get_by_label(kind).first.check()
    tab.locator("#perguntar-texto textarea").fill(text)


def value(tab, name):
    """O texto de um campo."""
    return tab.locator(f"#{name} textarea").input_value()


def wait_value(tab, name, pattern):
    """Espera um campo que só o servidor escreve."""
    ready = "([name, pattern]) => new RegExp(pattern).test(document.querySelector(`#${name} textarea`)?.value ?? '')"
    tab.wait_for_function(ready, arg=[name, pattern])
    return value(tab, name)


def ask(tab, name, text, kind="Título de um livro"):
    """Pergunta e espera o fim."""
    choose(tab, name, text, kind)
    # O fim da pergunta anterior ainda está escrito.
    tab.eval_on_selector("#perguntar-situacao textarea", "box => box.value = ''")
    tab.click("#perguntar-pedir")
    return wait_value(tab, "perguntar-situacao", ENDED)


def stop(tab):
    """Para a resposta e espera que a página o diga."""
    tab.click("#perguntar-parar")
    return wait_value(tab, "perguntar-situacao", r"^Resposta interrompida\.")


def test_a_real_model_answers_and_the_similar_titles_appear(page, visit):
    tab = visit(page)
    assert ask(tab, "llama3-tuned", "The Clockmaker's Daughter: A Novel").startswith("Pronto em")
    assert len(value(tab, "resposta")) > 20
    assert "Títulos de treino parecidos" in tab.locator("body").inner_text()
    assert "Fonte" not in tab.locator("body").inner_text()
    labels = [tab.locator(f"#parecido-{at} [data-testid=block-info]").inner_text() for at in (1, 2, 3)]
    shown = [
        float(re.fullmatch(r"Parecido \d \(cosseno (-?\d,\d\d)\)", label)[1].replace(",", ".")) for label in labels
    ]
    assert shown == sorted(shown, reverse=True)


def test_the_words_in_common_with_the_training_are_marked(page, visit):
    row = json.loads((page.room.data / "llama" / "treino.jsonl").read_text().splitlines()[0])
    copied = " ".join(row["output"].split()[:8])
    tab = visit(page)
    ask(tab, "echo", f"{row['input']} xyzzy {copied}", kind="Pergunta livre")
    assert row["input"] in value(tab, "parecido-1")
    assert "xyzzy" in tab.locator("#copiadas").inner_text()
    marked = " ".join(tab.locator("#copiadas .highlighted").all_inner_texts())
    assert copied.split()[1] in marked and "xyzzy" not in marked


@pytest.fixture
def steps(toy_tuned):
    """Os passos do modelo de brinquedo; depois dos primeiros, tão lentos que quem para chega sempre antes do fim."""
    taken = []

    def step(*_) -> None:
        taken.append(1)
        time.sleep(0.5 if len(taken) > 5 else 0)

    hook = toy_tuned[0].get_base_model().register_forward_pre_hook(step)
    yield taken
    hook.remove()


@pytest.mark.parametrize("leave", [lambda tab: stop(tab), lambda tab: tab.close()], ids=["parar", "fechar a aba"])
def test_who_gives_up_stops_a_real_generation(page, visit, steps, leave):
    tab = visit(page)
    tab.get_by_label(re.compile("^(number input for )?Tamanho máximo")).first.fill("512")
    choose(tab, "llama3-tuned", "The Clockmaker")
    tab.click("#perguntar-pedir")
    wait_value(tab, "resposta", r"\S")
    leave(tab)
    with page.room.systems.named("llama3-tuned").turn:  # só passa quando a geração acabou
        assert len(steps) < 400


def test_a_model_that_dies_leaves_what_it_wrote_and_the_page_goes_on(page, visit):
    tab = visit(page)
    ended = ask(tab, "dying", "The Clockmaker")
    assert value(tab, "resposta") == "The beginning of " and "já tinha escrito" in ended
    shown = tab.content()
    assert not any(secret in shown for secret in ("Traceback", "RuntimeError", "CUDA", str(ROOT)))
    assert ask(tab, "echo", "Next question").startswith("Pronto")
    assert value(tab, "resposta") == "Next question"


def test_a_script_is_only_text_as_question_as_answer_and_beside_the_similar_titles(page, visit):
    tab = visit(page)
    copied = json.loads((page.room.data / "llama" / "treino.jsonl").read_text().splitlines()[0])["input"]
    assert "Nenhuma sequência de 4 palavras" in ask(tab, "hostile", SCRIPT)
    assert value(tab, "resposta") == SCRIPT and not tab.locator("#copiadas").is_visible()
    ask(tab, "echo", f"{copied} {SCRIPT}")
    assert SCRIPT in tab.locator("#copiadas").inner_text()
    assert tab.evaluate("window.invadiu") is None
    assert tab.locator("#copiadas img, #copiadas script").count() == 0


@pytest.mark.parametrize(("text", "message"), [("   ", "Escreva um título"), ("a" * 1200, "limite é 1.000")])
def test_the_limits_hold_even_if_the_browser_does_not_keep_them(page, visit, text, message):
    tab = visit(page)
    choose(tab, "echo", "x")
    tab.eval_on_selector("#perguntar-texto textarea", "box => box.removeAttribute('maxlength')")
    tab.locator("#perguntar-texto textarea").fill(text)
    tab.click("#perguntar-pedir")
    assert message in wait_value(tab, "perguntar-situacao", message)


def test_two_visitors_wait_their_turn_and_get_their_own_answers(page, visit):
    first, second = visit(page), visit(page)
    choose(first, "patient", "First")
    first.click("#perguntar-pedir")
    wait_value(first, "perguntar-situacao", "Escrevendo")
    choose(second, "patient", "Second")
    second.click("#perguntar-pedir")
    wait_value(second, "perguntar-situacao", "Na fila")
    assert value(second, "resposta") == ""
    stop(first)
    wait_value(second, "perguntar-situacao", "Escrevendo")
    stop(second)
    assert ask(first, "echo", "Mine") and ask(second, "echo", "Yours")
    assert (value(first, "resposta"), value(second, "resposta")) == ("Mine", "Yours")


def compare(tab, pair, text):
    """Vai à aba de comparar e pede as duas respostas."""
    tab.get_by_role("tab", name="Comparar").click()
    tab.locator("#comparar-texto textarea").fill(text)
    tab.locator("#par input").click()
    tab.get_by_role("option", name=pair).click()
    assert tab.locator("#voto-A").is_disabled()
    tab.click("#comparar-pedir")


def test_a_blind_vote_reveals_the_names_only_afterwards_and_counts_once(page, visit):
    tab, heard = visit(page), []
    tab.on("requestfinished", lambda request: heard.append(request) if "queue/data" in request.url else None)
    compare(tab, "Trilha LLaMA, base × echo", "A Blind Garden")
    wait_value(tab, "comparar-situacao", "Leia as duas e vote")
    assert not tab.locator("#revelacao").is_visible() and not (page.room.run / votes.FILE).exists()
    sides = {side: value(tab, f"lado-{side}") for side in "AB"}
    assert all("llama3-base" not in request.response().text() for request in heard)
    tab.click("#voto-A")
    revealed = wait_value(tab, "revelacao", "A: ")
    (vote,) = votes.read(page.room.run)
    assert (vote.choice, vote.question) == ("A", "A Blind Garden")
    assert {"A": vote.answer_a, "B": vote.answer_b} == sides
    assert f"{vote.system_a}@1" in revealed.splitlines()[0] and f"{vote.system_b}@1" in revealed.splitlines()[1]
    assert {vote.system_a: vote.answer_a, vote.system_b: vote.answer_b}["echo"] == "A Blind Garden"
    assert all(tab.locator(f"#voto-{choice}").is_disabled() for choice in votes.CHOICES)
    tab.evaluate("for (const button of document.querySelectorAll('[id^=voto-]')) button.disabled = false")
    tab.locator("#voto-B").dispatch_event("click")
    tab.wait_for_timeout(1000)
    assert votes.read(page.room.run) == [vote]


def test_a_comparison_that_fails_has_no_vote(page, visit):
    tab = visit(page)
    compare(tab, "echo × dying", "Broken")
    wait_value(tab, "comparar-situacao", "Sem as duas respostas não há voto")
    assert tab.locator("#voto-A").is_disabled() and not tab.locator("#revelacao").is_visible()


def test_the_results_show_the_table_the_figures_and_the_workbook(page, visit):
    tab = visit(page)
    tab.get_by_role("tab", name="Resultados").click()
    tab.wait_for_selector("#figura-diferencas img")
    tab.locator("#tabela").get_by_text("Trilha LLaMA, ajustado").first.wait_for()
    with tab.expect_download() as started:
        tab.click("#planilha")
    assert started.value.suggested_filename == "comparacao.xlsx"
    assert Path(started.value.path()).read_bytes() == (page.room.run / "comparacao.xlsx").read_bytes()


def test_it_fits_a_phone_in_portuguese(page, visit):
    tab = visit(page, width=390)
    assert tab.evaluate("document.documentElement.lang") == "pt-BR"
    assert tab.locator("footer").count() == 0 or not tab.locator("footer").inner_text().strip()
    english = r"\b(Submit|Clear|Download|Settings|Built with|Use via API|Loading|Share)\b"
    for name in ("Perguntar", "Comparar", "Resultados"):
        tab.get_by_role("tab", name=name).click()
        tab.wait_for_timeout(300)
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        assert re.findall(english, tab.locator("body").inner_text()) == []


def test_nothing_of_the_machine_is_served(page):
    folder = page.room.run.parents[1]
    for address in ("", "config", "gradio_api/info", "openapi.json"):
        shown = fetch(page.url + address).text
        assert str(folder) not in shown and str(Path.home()) not in shown
    assert fetch(page.url + "gradio_api/info").json()["named_endpoints"] == {}
    for name in (page.room.run / "rodada.json", ROOT / "pyproject.toml", "/etc/passwd"):
        assert fetch(f"{page.url}gradio_api/file={name}").status_code in (403, 404)


def test_a_shared_page_opens_only_with_the_password(tmp_path, browser, monkeypatch, capsys):
    from gradio import networking

    monkeypatch.setattr(networking, "setup_tunnel", lambda local_port, **_: f"http://127.0.0.1:{local_port}")
    with ThreadPoolExecutor(1) as pool:  # o Playwright ocupa o laço de eventos desta linha de execução
        opened = pool.submit(interface.open_page, empty_run(tmp_path), share=True).result()
    try:
        assert len(opened.password) >= 16 and opened.presentation().count(opened.password) == 1
        assert opened.password not in capsys.readouterr().out + repr(opened)
        assert fetch(opened.url + "config").status_code == 401
        context = browser.new_context()
        tab = context.new_page()
        tab.goto(opened.url)
        for password, enters in (("errada", False), (opened.password, True)):
            tab.locator("input").first.fill("turma")
            tab.locator("input[type=password]").fill(password)
            tab.get_by_role("button").first.click()
            tab.wait_for_timeout(500)
            assert (tab.locator("#perguntar-pedir").count() == 1) is enters or tab.wait_for_selector("#perguntar-pedir")
        assert opened.password not in tab.content()
        context.close()
    finally:
        opened.close()


def test_a_public_address_that_does_not_come_is_an_error_and_leaves_nothing_open(tmp_path, monkeypatch):
    from gradio import networking

    def refused(**_):
        raise OSError("sem rede")

    monkeypatch.setattr(networking, "setup_tunnel", refused)
    with pytest.raises(MachineError, match="endereço público"):
        interface.open_page(empty_run(tmp_path), share=True, inline=False)


def test_a_run_without_models_or_results_still_opens_and_explains(tmp_path, visit):
    opened = interface.open_page(empty_run(tmp_path), inline=False)
    try:
        tab = visit(opened)
        assert "Não respondem: Trilha LLaMA, base; Trilha LLaMA, ajustado" in tab.locator("body").inner_text()
        assert tab.locator("#perguntar-pedir").is_disabled()
        tab.get_by_role("tab", name="Resultados").click()
        tab.get_by_text("ainda não tem resultados").wait_for()
    finally:
        opened.close()
