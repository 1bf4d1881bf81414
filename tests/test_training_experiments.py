"""Experimentos do caderno 05: o que se decide sem treinar, e ensaios de verdade num modelo de brinquedo."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from training_run import EXAMPLES, finish, start, until
from training_run import bench as toy_bench

from finetune_helpers import prompts, training
from finetune_helpers.errors import InputError, RunMismatchError
from finetune_helpers.records import read_json, write_json, write_jsonl
from finetune_helpers.training import findings, profiles, search, trial

ROOT = Path(__file__).parents[1]
CPU = profiles.BY_NAME["cpu"]
SPY = """
import os, signal, sys
if os.environ.get("MORRE") and sys.orig_argv[-2:] == ["busca", os.environ["MORRE"]]:
    os.kill(os.getpid(), signal.SIGKILL)
def watch(event, given):
    if event == "open" and os.path.basename(str(given[0])).startswith("teste"):
        os.close(os.open(os.environ["ESPIAO"], os.O_CREAT | os.O_WRONLY))
        raise RuntimeError(f"o conjunto de teste foi aberto: {given[0]}")
sys.addaudithook(watch)
"""


def noted(bench: search.Bench, *losses: float, state: str = "COMPLETE", change: str = "", **other) -> None:
    """Anota no diário um ensaio de 40 s com estas medidas, uma a cada meia época."""
    import optuna

    study = search.open_changes(bench) if change else search.open_study(bench)
    attempt = study.ask()
    known = {"changes": {"learning_rate": 4e-3, "lora_r": 8, "lora_alpha": 16}, "rows": 12, "train_seconds": 30.0}
    known["epochs"] = {str(step): step / 2 for step in range(1, len(losses) + 1)}
    if not change:
        search.suggest(attempt, 2e-3)
    for key, value in (known | ({search.CHANGE: change} if change else {}) | other).items():
        attempt.set_user_attr(key, value)
    for step, loss in enumerate(losses, start=1):
        attempt.report(loss, step)
    study.tell(attempt, min(losses) if state == "COMPLETE" else None, state=optuna.trial.TrialState[state])


@pytest.fixture
def bench(tmp_path, monkeypatch) -> search.Bench:
    """Quatro ensaios já feitos, de 40 s cada: dois completos, um podado e um que falhou."""
    monkeypatch.setattr(search, "seconds", lambda trial: 40.0)
    budget = search.budget("demonstracao", trials=4, minutes=60)
    bench = search.Bench(tmp_path / "r" / search.FOLDER, tmp_path / "treino.jsonl", CPU, budget, 12)
    noted(bench, 4.4, 4.2)
    noted(bench, 4.2, 4.0)
    noted(bench, 4.4, state="PRUNED", reason=trial.WORSE)
    noted(bench, state="FAIL", reason="a memória não bastou")
    return bench


def seeds(bench: search.Bench) -> None:
    noted(bench, 4.02, change="outra semente")
    noted(bench, 3.99, change="mais uma semente")


def test_differences_within_the_spread_of_the_seeds_are_noise(bench):
    seeds(bench)
    for change, loss in (("LoRA só na atenção", 4.01), ("metade das linhas", 4.3)):
        noted(bench, loss, change=change)
    noted(bench, 3.9, change="NEFTune (ruído 5 nas entradas)")
    summary = findings.conclude(bench)
    assert summary["spread"] == pytest.approx(0.03)
    assert [row["verdict"] for row in summary["changes"]] == ["é o próprio ruído"] * 2 + [
        "dentro do ruído",
        "pior",
        "melhor",
    ]
    winner = summary["winner"]
    assert winner["trial"] == "busca-2, com NEFTune (ruído 5 nas entradas)" and winner["search_trial"] == "busca-2"
    assert winner["base_id"] == training.base_id(CPU) and winner["heldout_loss"] == 3.9
    assert summary["left_out"] == ["um quarto das linhas", "DoRA"]
    text = findings.describe(summary)
    assert "de 4,200 (o perfil sem mudanças) para 3,900" in text and "ficou de fora: um quarto das linhas, DoRA" in text


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [(0.03, findings.NOISE), (-0.03, findings.NOISE), (-0.031, findings.BETTER), (0.031, findings.WORSE)],
)
def test_a_difference_as_large_as_the_noise_is_still_noise(difference, verdict):
    assert findings.verdict("DoRA", difference, 0.03) == verdict
    assert findings.verdict("DoRA", difference, None) == findings.UNKNOWN


def test_without_seeds_no_change_beats_the_search(bench):
    noted(bench, 3.0, change="DoRA")
    summary = findings.conclude(bench)
    assert summary["spread"] is None and summary["winner"]["trial"] == "busca-2"
    assert "faltam sementes" in findings.describe(summary)


@pytest.mark.parametrize(("end", "epochs"), [(3.92, None), (4.5, 0.5)])
def test_epochs_come_from_the_curve_only_when_it_turns_beyond_the_noise(bench, end, epochs):
    noted(bench, 3.9, end)
    seeds(bench)
    noted(bench, 3.88, change="DoRA", state="FAIL", reason="a memória não bastou")
    summary = findings.conclude(bench)
    assert summary["winner"]["changes"].get("epochs") == epochs and summary["winner"]["best_epoch"] == 0.5
    assert summary["changes"][-1]["verdict"] == "a memória não bastou"


def test_the_summary_comes_from_the_journal_alone_and_does_not_change(bench):
    seeds(bench)
    findings.conclude(bench)
    before = {path.name: path.read_bytes() for path in bench.folder.iterdir()}
    findings.conclude(bench)
    assert {path.name: path.read_bytes() for path in bench.folder.iterdir()} == before
    assert before.keys() == {"estudo.log", "resumo.json", "vencedor.json"}


def test_all_failures_are_told_with_their_reasons(tmp_path):
    lost = search.Bench(tmp_path, tmp_path / "t.jsonl", CPU, search.budget("cafe"), 12)
    noted(lost, state="FAIL", reason="a memória não bastou")
    with pytest.raises(InputError, match="busca-1: a memória não bastou"):
        findings.conclude(lost)


def test_trials_of_another_model_or_profile_are_never_compared(bench):
    with pytest.raises(RunMismatchError, match=r"learning_rate: era 0.002, agora 0.001.*`run`"):
        search.open_study(replace(bench, profile=replace(CPU, learning_rate=1e-3)))
    assert len(search.open_study(replace(bench, profile=replace(CPU, save_minutes=9.0))).trials) == 4


def test_no_trial_starts_that_would_not_fit(bench, monkeypatch):
    monkeypatch.setattr(search, "run", lambda *asked: pytest.fail("começou um ensaio"))
    # Gastos, 160 s: sobram 40, e um ensaio inteiro leva 40.
    tight = replace(bench, budget=replace(bench.budget, minutes=200 / 60, trials=9))
    assert len(search.search(tight).trials) == 4
    search.vary(tight)
    assert findings.conclude(tight)["left_out"][:2] == ["5 ensaios da busca", "outra semente"]
    assert (search.expected(bench, 12), search.expected(bench, 3)) == (40.0, 17.5)


def test_what_a_session_that_fell_left_is_redone_and_does_not_count(bench, monkeypatch):
    def killed(folder, which, request, seconds):
        raise KeyboardInterrupt

    more = replace(bench, budget=replace(bench.budget, trials=5))
    fallen = search.open_study(more).ask()
    asked = search.suggest(fallen, 2e-3)
    with (bench.folder / trial.JOURNAL).open("a") as file:
        file.write('{"op_code": 5, "meio')
    (bench.folder / f"{trial.JOURNAL}.lock").touch()
    monkeypatch.setattr(search, "run", killed)
    with pytest.raises(KeyboardInterrupt):
        search.search(more)
    study = search.open_study(more)
    assert [one.state.name for one in study.trials[4:]] == ["FAIL", "FAIL"] and len(search.done(study)) == 4
    assert study.trials[5].user_attrs["changes"] == asked
    assert findings.table(study)[4]["motivo"] == findings.FELL


def test_the_presentation_tells_time_cost_and_what_is_not_measured(bench):
    t4 = replace(CPU, price_sku="T4")
    text = findings.presentation(search.Bench(bench.folder / "novo", bench.data, t4, search.budget("cafe"), 48))
    assert "1 h 25 min" in text and "unidades do Colab" in text
    assert "não medido nesta máquina" in text and "são todas as que há" in text
    assert "medido nesta rodada" in findings.presentation(bench) and "sem cobrança" in findings.presentation(bench)


def test_an_unknown_budget_names_the_others():
    with pytest.raises(InputError, match="demonstracao, cafe, completo"):
        search.budget("infinito")
    assert search.budget("cafe", minutes=3, trials=2).seconds == 180


def test_the_search_stays_in_its_range():
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    for _ in range(20):
        asked = search.suggest(study.ask(), profiles.BY_NAME["t4"].learning_rate)
        assert 5e-5 <= asked["learning_rate"] <= 5e-4 and asked["lora_r"] in (8, 16, 32)
        assert asked["lora_alpha"] / asked["lora_r"] in (1, 2)


def test_the_tables_are_written_in_portuguese_and_the_figure_has_the_same_bytes(bench, tmp_path):
    seeds(bench)
    noted(bench, 4.3, change="metade das linhas", rows=6)
    summary, study = findings.conclude(bench), search.open_study(bench)
    last = findings.changes_table(summary)[-1]
    assert (last["mudança"], last["linhas"], last["perda"]) == ("metade das linhas", "6", "4,300")
    rows = findings.table(study)
    assert [row["estado"] for row in rows] == ["completo", "completo", "podado", "falhou"]
    assert re.fullmatch(r"0,0\d*", rows[0]["taxa"]) and (rows[1]["época"], rows[3]["época"]) == ("1,00", "—")
    assert not re.search(r"\d\.\d", str(findings.changes_table(summary)) + str(rows))
    first, second = (findings.write_figure(study, tmp_path / name).read_bytes() for name in ("a.png", "b.png"))
    assert first == second and len(first) > 10_000


def crowned(run: Path, **other: object) -> Path:
    """Uma rodada com um vencedor."""
    changes = {"learning_rate": 3e-3, "lora_r": 32, "lora_alpha": 64, "target_modules": ["q_proj", "v_proj"]}
    winner = {"trial": "busca-7", "base_profile": "cpu", "model": "embutido", "changes": changes}
    write_json(run / profiles.WINNER_FILE, winner | other)
    return run


def test_the_winner_is_a_profile_by_name_and_its_name_makes_it_again(tmp_path):
    from finetune_helpers.training.__main__ import from_parameters

    run = crowned(tmp_path / "r")
    chosen = training.choose("vencedor", run=run, max_steps=5)
    assert (chosen.learning_rate, chosen.lora_r, chosen.lora_alpha, chosen.max_steps) == (3e-3, 32, 64, 5)
    assert training.lora_arguments(chosen)["target_modules"] == ["q_proj", "v_proj"]
    assert "busca-7" in training.describe(chosen) and chosen.origin == "vencedor:r"
    options = {"PERFIL": chosen.origin, "MOTOR": "", "MODELO": "", "EPOCAS": 0, "MAX_PASSOS": 5}
    assert from_parameters(options, tmp_path / "outra") == chosen
    with pytest.raises(RunMismatchError, match="outro/modelo"):
        training.choose("vencedor", run=crowned(tmp_path / "r", model="outro/modelo"))


@pytest.mark.parametrize(
    ("name", "message"), [("vencedor", "caderno 05"), ("vencedor:outra", "outra não tem"), ("vencedor:../fora", "05")]
)
def test_a_run_without_winner_says_what_to_do(tmp_path, name, message):
    crowned(tmp_path.parent / "fora")
    with pytest.raises(InputError, match=message):
        training.choose(name, run=tmp_path / "r")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Uma pasta com linhas de treino e, no lugar do teste, o que nenhum leitor aceitaria."""
    root = tmp_path_factory.mktemp("experimentos")
    write_jsonl(root / "dados" / "r" / "llama" / "treino.jsonl", map(prompts.to_alpaca, EXAMPLES[:24]))
    for name in ("llama", "comparacao"):
        (root / "dados" / "r" / name).mkdir(exist_ok=True)
        (root / "dados" / "r" / name / "teste.jsonl").write_text("isto não é para ler")
    (root / "espiao").mkdir()
    (root / "espiao" / "sitecustomize.py").write_text(SPY)
    return root


def watched(root: Path, **more: str) -> dict[str, str]:
    """O ambiente em que abrir o conjunto de teste, em qualquer processo, deixa uma marca e falha."""
    paths = f"{root / 'espiao'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    return os.environ | {"PYTHONPATH": paths, "ESPIAO": str(root / "aberto")} | more


def orphans(root: Path) -> list[int]:
    """Ensaios desta pasta que ainda rodam."""
    alive = (one for one in psutil.process_iter(["cmdline", "status"]) if one.info["status"] != psutil.STATUS_ZOMBIE)
    return [one.pid for one in alive if any(str(root / "resultados") in part for part in one.info["cmdline"] or [])]


@pytest.mark.treino
@pytest.mark.falhas
def test_a_search_killed_and_resumed_counts_each_trial_once_and_never_reads_the_test_set(data, toy_model):
    code = f"open({str(data / 'dados' / 'r' / 'llama' / 'teste.jsonl')!r})"
    seen = subprocess.run([sys.executable, "-c", code], env=watched(data), capture_output=True, text=True)
    assert "o conjunto de teste foi aberto" in seen.stderr and (data / "aberto").exists(), "o espião não vê"
    (data / "aberto").unlink()
    folder, search_of_three = data / "resultados" / "r" / search.FOLDER, ("buscar", data, toy_model, 3)
    killed = start(*search_of_three, environment=watched(data))
    assert until((folder / trial.LOGS / "busca-2.txt").exists, 300)
    killed.kill()
    killed.communicate()
    assert until(lambda: not orphans(data), 20), "o ensaio sobreviveu a quem o pediu"
    finish(start(*search_of_three, environment=watched(data, MORRE="3")))
    bench = toy_bench(data, str(toy_model), 3)
    first, fallen, again, dead = search.open_study(bench).trials
    assert [one.state.name for one in (first, fallen, again, dead)] == ["COMPLETE", "FAIL", "COMPLETE", "FAIL"]
    assert again.params == fallen.params != first.params and "falta de memória" in dead.user_attrs["reason"]
    assert [len(one.intermediate_values) for one in (first, again)] == [2, 2]
    before = (folder / trial.JOURNAL).read_bytes()
    finish(start(*search_of_three, environment=watched(data)))
    assert (folder / trial.JOURNAL).read_bytes() == before and not (data / "aberto").exists()
    winner = findings.conclude(bench)["winner"]
    chosen = training.choose("vencedor", run=folder.parent, model=str(toy_model))
    assert chosen.learning_rate == winner["changes"]["learning_rate"]


@pytest.mark.treino
@pytest.mark.parametrize(("seconds", "reason"), [(300, trial.WORSE), (1, "passou do tempo")])
def test_a_trial_is_pruned_by_what_it_reports_or_cut_by_the_budget(data, toy_model, tmp_path, seconds, reason):
    import optuna

    budget = search.budget("demonstracao", minutes=seconds / 60)
    profile = training.choose("cpu", engine="transformers", model=str(toy_model), max_steps=4)
    bench = search.Bench(tmp_path, data / "dados" / "r" / "llama" / "treino.jsonl", profile, budget, 6)
    study = search.open_study(bench)
    for _ in range(2):  # dois ensaios que nenhum outro alcançaria, e que não levaram tempo
        perfect = study.ask()
        for step in range(1, 5):
            perfect.report(0.0, step)
        study.tell(perfect, 0.0)
    attempt = study.ask()
    with pytest.raises((optuna.TrialPruned, search.TrialFailed), match=reason):
        search._train(bench, attempt, search.suggest(attempt, 1e-2), 6)
    curve = study.trials[2].intermediate_values
    assert list(curve) == ([2] if seconds == 300 else []) and not orphans(tmp_path)


@pytest.mark.treino
@pytest.mark.longo
def test_the_notebook_runs_with_every_change(data, toy_model, tmp_path, monkeypatch):
    import papermill

    shutil.copytree(data / "dados" / "r", tmp_path / "dados" / "r")
    values = {"RODADA": "r", "MODELO": str(toy_model), "N_ENSAIOS": 1, "MAX_PASSOS": 2, "MINUTOS": 60}
    notebook = ROOT / "colab" / "05_hiperparametros.ipynb"
    assert set(values) <= set(papermill.inspect_notebook(notebook))
    monkeypatch.setenv("FINETUNE_PASTA", str(tmp_path))
    papermill.execute_notebook(notebook, tmp_path / "saida.ipynb", values, kernel_name="python3", progress_bar=False)
    summary = read_json(tmp_path / "resultados" / "r" / search.FOLDER / findings.SUMMARY)
    assert [row["change"] for row in summary["changes"]] == list(search.CHANGES)
    assert all(row["loss"] for row in summary["changes"]) and summary["left_out"] == [] and summary["spread"] > 0
    assert (tmp_path / "resultados" / "r" / "figuras" / "hiperparametros.png").stat().st_size > 10_000
    assert "Perfil cpu" in (tmp_path / "saida.ipynb").read_text(encoding="utf-8")
