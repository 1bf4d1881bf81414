"""A página sem navegador: quem responde e por que não, as respostas aos pedaços, a vez de cada um e o caderno 06."""

import json
import re
import socket
import subprocess
import sys
import urllib.request
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from threading import Lock

import nbformat
import papermill
import pytest
from interface_systems import ROOT, dying, echo, empty_run, patient, published, script

from finetune_helpers import interface, prompts
from finetune_helpers.answers import Answer
from finetune_helpers.errors import FinetuneError, InputError, MachineError
from finetune_helpers.interface import systems, tabs
from finetune_helpers.interface.systems import Access
from finetune_helpers.records import write_json, write_jsonl

NOTEBOOK = ROOT / "colab" / "06_interface.ipynb"
ASKED = systems.question("The Clockmaker", systems.TITLE)
KEYED = {"secret": lambda name: "chave-secreta"}
REPORT = {"base_id": "m@1", "model_id": "m@1+2", "fine_tuned_model": "m-ajustado"}


def whole(system, tokens=32, asked=ASKED):
    """A resposta inteira e a última situação."""
    *_, ended = systems.answer(system, asked, tokens)
    return ended


@pytest.mark.parametrize(("text", "message"), [("", "Escreva"), (" \n", "Escreva"), ("a" * 1001, "1.001 caracteres")])
def test_a_question_has_limits(text, message):
    with pytest.raises(InputError, match=message):
        systems.question(text, systems.FREE)
    assert systems.question("a" * 1000, systems.FREE).instruction == "a" * 1000


def test_a_title_carries_the_instruction_of_the_training_and_a_free_question_does_not():
    expected = prompts.alpaca_prompt(prompts.Question("outro", prompts.INSTRUCTION, "The Clockmaker"))
    assert prompts.alpaca_prompt(ASKED) == expected
    free = prompts.chat_messages(systems.question("What is a\ud83d lighthouse?", systems.FREE))
    assert free == [{"role": "user", "content": "What is a lighthouse?"}]


def test_an_answer_arrives_in_pieces_and_says_when_it_is_over():
    steps = list(systems.answer(script("a", echo), ASKED, 32))
    assert steps[0] == ("", systems.PREPARING) and ("The Clockmaker", "Escrevendo…") in steps
    assert re.fullmatch(r"Pronto em \d+,\d s\.", steps[-1][1]) and steps[-1][0] == "The Clockmaker"
    asked = []
    noting = script("a", lambda question, max_tokens, deliver, stop: asked.append(max_tokens))
    ends = [whole(noting, tokens) for tokens in (-5, 10**9, 64.0)]  # o tamanho, seja o que for que o navegador mande
    assert ends == [("", "O modelo terminou sem escrever nada.")] * 3 and asked == [1, systems.LONGEST_ANSWER, 64]


def test_a_model_that_dies_says_nothing_of_the_machine(caplog):
    steps = []
    with pytest.raises(FinetuneError, match="já tinha escrito") as caught:
        steps.extend(systems.answer(script("a", dying), ASKED, 32))
    assert not any(secret in str(caught.value) for secret in (str(ROOT), "RuntimeError", "CUDA", "segredo"))
    assert "CUDA" in caplog.text and str(ROOT) not in caplog.text


def test_two_answers_of_one_machine_never_run_together():
    turn = Lock()
    with closing(script("a", patient, turn).pieces(ASKED, 32)) as first:
        assert next(piece for piece in first if piece) and turn.locked()
        with closing(script("b", echo, turn).pieces(ASKED, 32)) as second:
            assert next(second) == ""
            first.close()
            assert next(piece for piece in second if piece) == "The Clockmaker"


def test_who_gives_up_waiting_never_starts():
    turn, started = Lock(), []
    waiting = script("a", lambda *_: started.append(1), turn).pieces(ASKED, 32)
    with turn:
        assert next(waiting) == ""
        waiting.close()
    with turn:
        assert started == []


@pytest.mark.parametrize("tuned", [True, False])
def test_the_answer_of_the_page_is_the_answer_of_the_run(toy_tuned, tuned):
    from finetune_helpers.training import measures

    expected = measures.answerer(*toy_tuned, "brinquedo", max_new_tokens=24, adapter=tuned)([ASKED])[0].answer
    text, _ = whole(script("a", systems.local_writer(lambda: toy_tuned, tuned)), 24)
    assert text.strip() == expected


def test_a_question_longer_than_the_model_reads_is_refused(toy_tuned, monkeypatch):
    monkeypatch.setattr(toy_tuned[0].config, "max_position_embeddings", 64)
    with pytest.raises(FinetuneError, match="não sobra lugar"):
        whole(
            script("a", systems.local_writer(lambda: toy_tuned, True)),
            asked=systems.question("é" * 1000, systems.FREE),
        )


def test_a_run_without_weights_says_which_notebook_makes_them(tmp_path):
    ready = interface.find(published(tmp_path))
    reasons = {system.name: system.reason for system in ready.every}
    assert list(reasons) == ["llama3-base", "llama3-tuned", "gpt-base", "gpt-tuned"] and not ready.ready
    assert "caderno 02" in reasons["llama3-base"] and "caderno 03" in reasons["gpt-tuned"]
    assert "RODADA" in reasons["gpt-base"] and "`" not in reasons["gpt-base"]


def hosted_run(folder: Path, wrote: str = "m@1") -> Path:
    """A pasta de uma rodada cujo GPT foi treinado num provedor; ``wrote`` respondeu pelo modelo base."""
    write_json(folder / "gpt" / "trabalho.json", {"job_id": "j", "request": {"provider": "nebius", "model": "m"}})
    write_json(folder / "gpt" / "treino.json", REPORT)
    rows = {"gpt-base": wrote, "gpt-fewshot": "m@1", "gpt-tuned": "m@1+2"}
    answers = [Answer("x", 1, 1, 1.0, "stop", name, "i", system) for system, name in rows.items()]
    write_jsonl(folder / "gpt" / "respostas.jsonl", map(asdict, answers))
    return folder


def test_a_paid_provider_needs_a_key_and_leave_to_spend(tmp_path, monkeypatch):
    monkeypatch.delenv("NEBIUS_API_KEY", raising=False)
    run = hosted_run(tmp_path)
    assert "PERGUNTAS_PAGAS" in interface.find(run, Access(**KEYED)).every[2].reason
    assert "NEBIUS_API_KEY" in interface.find(run, Access(paid_questions=5)).every[2].reason
    ready = interface.find(run, Access(paid_questions=5, **KEYED)).ready
    assert [(system.name, system.model_id) for system in ready] == [("gpt-base", "m@1"), ("gpt-tuned", "m@1+2")]
    assert "até 5 perguntas" in ready[0].detail and "chave-secreta" not in repr(ready)


def test_weights_that_did_not_write_the_answers_of_the_run_are_refused(tmp_path):
    run = hosted_run(tmp_path, wrote="outro@9")
    reason = interface.find(run, Access(paid_questions=5, **KEYED)).every[2].reason
    assert "outro@9" in reason and "m@1" in reason and "não mistura modelos" in reason


@pytest.mark.parametrize(("installed", "engine"), [(True, "unsloth"), (False, "transformers")])
def test_without_the_unsloth_of_the_training_transformers_answers(tmp_path, monkeypatch, installed, engine):
    """No Colab o caderno 06 não o instala, porque pediria um reinício."""
    from finetune_helpers import training

    trained_here(tmp_path, "dono/modelo", "dono/modelo")

    def choose(name, **asked):
        raise InputError(f"{name} {asked['engine']} {asked['model']}")

    monkeypatch.setattr(training, "choose", choose)
    monkeypatch.setattr(systems, "find_spec", lambda name: name if installed else None)
    assert interface.find(tmp_path).every[0].reason == f"auto {engine} dono/modelo"


def trained_here(run: Path, model: str, source: str) -> None:
    """Os arquivos de duas trilhas treinadas nesta máquina, sem pesos; ``source`` é de onde o treino leu ``model``."""
    parameters = {"parametros": {"MOTOR": "unsloth", "MODELO": model}}
    write_json(run / "rodada.json", {"passos": dict.fromkeys(("02_treino_llama3", "03_treino_gpt"), parameters)})
    write_json(run / "llama3" / "adaptador" / "adapter_config.json", {"base_model_name_or_path": source})
    (run / "llama3" / "adaptador" / "adapter_model.safetensors").touch()
    write_json(run / "gpt" / "trabalho.json", {"job_id": "j", "request": {"provider": "local", "model": model}})
    write_json(run / "gpt" / "treino.json", REPORT)
    job = run / "gpt" / "api_local" / "jobs" / "j"
    write_json(job / "job.json", {"model": model, "source": source})
    write_json(job / "models" / "step-1" / "adapter_model.safetensors", {})


def test_a_model_from_a_folder_is_found_where_the_training_read_it(tmp_path, monkeypatch):
    """A rodada, que se publica, só guarda o nome da pasta."""
    from finetune_helpers import training

    folder, asked = tmp_path / "modelos" / "pequeno", {}
    folder.mkdir(parents=True)
    trained_here(tmp_path / "rodada", "pequeno", str(folder))

    def choose(name, **options):
        asked["llama3"] = options["model"]
        raise InputError("até aqui")

    def running(state, models):
        asked["gpt"] = models
        raise InputError("até aqui")

    monkeypatch.setattr(training, "choose", choose)
    monkeypatch.setattr(systems.local_finetune_api, "running", running)
    with pytest.raises(FinetuneError, match="até aqui"):
        whole(interface.find(tmp_path / "rodada").named("gpt-tuned"))
    assert asked == {"llama3": str(folder), "gpt": (f"pequeno={folder}",)}
    folder.rmdir()
    reasons = {system.reason for system in interface.find(tmp_path / "rodada").every}
    assert reasons == {"O modelo base pequeno não está mais onde o treino o leu. Devolva-o para lá."}


def test_a_provider_answers_in_pieces_until_the_paid_questions_end(tmp_path, service):
    def pieces(body):
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
        said = [{"content": "I am "}, {"content": body["model"]}, {}]
        lines = [chunk | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in said]
        return "".join(f"data: {line}\n\n" for line in [*map(json.dumps, lines), "[DONE]"]).encode()

    service.reset().on_chat = pieces
    access = Access(base_url=service.base_url, paid_questions=2, **KEYED)
    base, tuned = interface.find(hosted_run(tmp_path), access).ready
    assert (whole(base)[0], whole(tuned)[0]) == ("I am m", "I am m-ajustado")
    with pytest.raises(FinetuneError, match="2 perguntas pagas desta página acabaram"):
        whole(base)
    assert service.count("POST /chat/completions") == 2


def test_a_provider_that_fails_midway_says_so_without_the_key(tmp_path, service):
    service.on_chat = lambda body: b'data: {"error": {"message": "caiu chave-secreta"}}\n\n'
    access = Access(base_url=service.base_url, paid_questions=2, **KEYED)
    with pytest.raises(FinetuneError) as caught:
        whole(interface.find(hosted_run(tmp_path), access).ready[0])
    assert "chave-secreta" not in str(caught.value)


def test_the_sides_are_drawn_and_only_known_pairs_compete():
    ready = [script(name, echo) for name in ("a", "b", "c")]
    orders = {tuple(system.name for system in tabs.drawn(ready, "a|b")) for _ in range(60)}
    assert orders == {("a", "b"), ("b", "a")}
    assert len({frozenset(system.name for system in tabs.drawn(ready, tabs.DRAWN)) for _ in range(200)}) == 3
    for wrong in ("a|x", "a", "a|a", "", None):
        with pytest.raises(InputError, match="par da lista"):
            tabs.drawn(ready, wrong)


def test_a_run_that_does_not_exist_ends_in_one_message(tmp_path, capsys):
    from finetune_helpers.interface.__main__ import main

    assert main(["inexistente", "--pasta", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("Erro: A rodada inexistente não existe")


def test_the_command_opens_the_page_of_a_folder_and_closes_it_by_itself(tmp_path):
    empty_run(tmp_path)
    command = [sys.executable, "-m", "finetune_helpers.interface", "vazia", "--pasta", str(tmp_path), "--segundos", "1"]
    # Num processo dela: aqui, a saída que a página desvia é a que o pytest também desvia.
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    address = re.fullmatch(r"Página em (http://127\.0\.0\.1:\d+/)\n", done.stdout)[1]
    with pytest.raises(OSError):
        urllib.request.urlopen(address, timeout=2)


def test_a_port_in_use_says_so(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(MachineError, match="ocupada"):
        interface.open_page(empty_run(tmp_path), port=taken.getsockname()[1], inline=False)


@pytest.fixture(scope="module")
def trained(toy_model, tmp_path_factory):
    """Uma rodada com um adaptador de verdade, salvo como o caderno 02 o salva, sobre o modelo de brinquedo."""
    import torch

    from finetune_helpers import training

    run = published(tmp_path_factory.mktemp("rodada"))
    (run / "llama3" / "respostas.jsonl").unlink(missing_ok=True)  # são de outro adaptador
    profile = training.choose("cpu", engine="transformers", model=str(toy_model))
    model, tokenizer = training.load(profile)
    model = training.add_adapter(model, profile)
    torch.manual_seed(2)
    for name, weights in model.named_parameters():
        if "lora_B" in name:  # nascem em zero; um treino as mudaria
            torch.nn.init.normal_(weights, std=0.3)
    training.save(model, tokenizer, run / "llama3" / "adaptador", profile)
    asked = {"MOTOR": "transformers", "MODELO": str(toy_model)}
    write_json(run / "rodada.json", {"passos": {"02_treino_llama3": {"parametros": asked}}})
    return run


@pytest.mark.treino
def test_the_adapter_of_the_run_answers_on_and_off(trained):
    base, tuned = interface.find(trained).ready
    assert (base.label, tuned.label) == ("Trilha LLaMA, base", "Trilha LLaMA, ajustado")
    assert tuned.model_id.startswith(base.model_id + "+")
    assert whole(base, 16)[0] != whole(tuned, 16)[0]


@pytest.mark.treino
def test_an_adapter_of_another_prompt_is_refused_with_the_reason(trained, monkeypatch):
    monkeypatch.setattr(prompts, "fingerprint", lambda: "outro")
    assert "prompt_fingerprint" in interface.find(trained).every[0].reason


@pytest.mark.treino
def test_notebook_06_opens_the_models_of_a_real_run_and_closes_by_itself(trained, monkeypatch):
    folder = trained.parents[1]
    monkeypatch.setenv("FINETUNE_PASTA", str(folder))
    done, values = folder / "06.ipynb", {"RODADA": "publicada", "SEGUNDOS": 1}
    papermill.execute_notebook(NOTEBOOK, done, values, cwd=NOTEBOOK.parent, kernel_name="python3", progress_bar=False)
    cells = nbformat.read(done, as_version=4).cells
    said = "".join(out.text for cell in cells for out in cell.get("outputs", []) if out.output_type == "stream")
    assert "Trilha LLaMA, ajustado" in said and "CPU" in said and "Execute o caderno 03" in said
    assert "Página em http://127.0.0.1:" in said and "0 votos na rodada publicada" in said
