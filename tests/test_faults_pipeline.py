"""A linha inteira em dias ruins: mortes, disco cheio, Drive que some, relógio que pula, dois cadernos na mesma rodada.

Depois de cada um, executar de novo leva aos mesmos números da linha sem falhas, e nada é feito duas vezes.
FALHAS_SEMENTE repete um sorteio; FALHAS_MODELO=embutido usa o SmolLM2 no lugar do LLaMA minúsculo.
"""

import hashlib
import json
import os
import re
import subprocess
import time

import fault_pipeline as line
import pytest
from fault_environment import environment
from fault_pipeline import NOTEBOOKS, Moment, Pipeline, Watch, copy, numbers
from fault_storage import fill, mounted, unmount

SEED = int(os.environ.get("FALHAS_SEMENTE", "20261122"))
KILLS = {"01_curadoria": 3, "02_treino_llama3": 12, "03_treino_gpt": 12, "04_comparacao": 3}
# Caderno, mudança em que o disco enche e mudança em que o Drive some.
TROUBLES = [("01_curadoria", 2, 3), ("02_treino_llama3", 3, 9), ("03_treino_gpt", 6, 12), ("04_comparacao", 1, 1)]

pytestmark = pytest.mark.falhas


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A linha sem falha nenhuma; os segundos e as mudanças de cada caderno; e as células da planilha."""
    work = tmp_path_factory.mktemp("sem_falha")
    pipeline = Pipeline(work / "casa", environment(work / "cache"))
    measured = {}
    for notebook in NOTEBOOKS:
        process = pipeline.start(notebook)
        watch = Watch(pipeline, process)
        watch.until_end()
        assert process.returncode == 0, pipeline.said()[-3000:]
        measured[notebook] = (round(watch.seconds, 1), watch.changes)
    return pipeline, measured, numbers(pipeline, work / "conta")


def check(pipeline, expected, work):
    """Os números e as contas depois das falhas."""
    assert line.done_twice(pipeline) == []
    assert line.differences(expected, numbers(pipeline, work))[:20] == []


def _say(capsys, line):
    with capsys.disabled():
        print(line, flush=True)


def test_thirty_kills_change_no_number_and_repeat_nothing(undisturbed, tmp_path, capsys):
    first, measured, expected = undisturbed
    pipeline, killed = Pipeline(tmp_path / "casa", first.environment), 0
    pipeline.folder.mkdir()
    _say(capsys, f"\nsemente {SEED}; sem falha (segundos, mudanças): {measured}")
    for notebook in NOTEBOOKS:
        moments = line.plan(SEED, notebook, KILLS[notebook], *measured[notebook])
        before = copy(pipeline.folder, tmp_path / "antes")
        while moments:
            process = pipeline.start(notebook)
            watch = Watch(pipeline, process)
            if not watch.until(moments[0]):
                # Acabou antes do momento: o caderno recomeça do zero e os momentos que faltam valem para esta volta.
                assert process.returncode == 0, pipeline.said()[-3000:]
                copy(before, pipeline.folder)
                continue
            orphans = line.kill(process, moments[0].everything)
            assert line.survivors(orphans) == [], f"semente {SEED}: órfãos depois de {moments[0]} em {notebook}"
            killed += 1
            _say(capsys, f"{killed:>2} {notebook:<17} {moments.pop(0)!s:<30} {watch.last}")
        pipeline.finish(notebook)
    assert killed == 30
    check(pipeline, expected, tmp_path / "conta")


def test_full_disk_lost_drive_and_jumping_clock_each_say_one_thing_and_change_no_number(undisturbed, tmp_path):
    first, measured, expected = undisturbed
    drive, place = tmp_path / "drive", tmp_path / "montado"
    place.mkdir()
    # O relógio pula cinco horas para a frente e para trás o tempo todo.
    pipeline = Pipeline(place / "casa", first.environment | {"FALHA_RELOGIO": "18000"})
    with mounted(drive, "128m"):
        for notebook, full, gone in TROUBLES:
            with mounted(place, drive):
                process = pipeline.start(notebook, said=tmp_path / "saida")
                Watch(pipeline, process).until(Moment(notebook, None, full, True))
                with fill(drive):
                    process.wait(300)
                stopped_well(pipeline, process, "Disco cheio|não pôde ser gravada")
                process = pipeline.start(notebook, said=tmp_path / "saida")
                Watch(pipeline, process).until(Moment(notebook, None, gone, True))
                unmount(place)
                process.wait(300)
            assert list(place.rglob("*.json*")) == []  # nada foi gravado no lugar vazio que o Drive deixou
            with mounted(place, drive):
                stopped_well(pipeline, process, "sumiu|não existe|não pôde ser gravada|não pode ser usada")
                pipeline.finish(notebook, said=tmp_path / "saida")
        with mounted(place, drive):
            check(pipeline, expected, tmp_path / "conta")
            durations_are_sane(pipeline, 5 * sum(seconds for seconds, _ in measured.values()))


def stopped_well(pipeline, process, message):
    """Uma mensagem só, sem rastro de pilha, e nenhum JSON pela metade."""
    said = pipeline.said()
    assert process.returncode == 1, said[-2000:]
    assert re.search(message, said.split("parou:", 1)[-1]), said[-2000:]
    assert "Traceback" not in said and said.count("parou:") <= 1, said[-2000:]
    for path in [*pipeline.run.rglob("*.json"), *pipeline.folder.glob("dados/**/*.json")]:
        json.loads(path.read_text())
    for path in [*pipeline.run.rglob("*.jsonl"), *pipeline.folder.glob("dados/**/*.jsonl")]:
        # A API local dá o mesmo nome ao conteúdo de todo arquivo que guarda, também ao de um CSV.
        stored = path.with_name("meta.json")
        if not stored.exists() or json.loads(stored.read_text())["filename"].endswith(".jsonl"):
            assert all(json.loads(line) for line in path.read_text().splitlines()), path


def durations_are_sane(pipeline, longest):
    """Nenhuma duração negativa nem maior que ``longest`` segundos, com o relógio como estiver."""
    for arm in ("llama3", "gpt"):
        report = json.loads((pipeline.run / arm / "treino.json").read_text())
        spent = [*report["seconds"].values(), *(point["seconds"] for point in report["loss_curve"])]
        rows = map(json.loads, (pipeline.run / arm / "respostas.jsonl").read_text().splitlines())
        assert all(0 <= seconds < longest for seconds in [*spent, *(row["seconds"] for row in rows)])


def test_a_second_notebook_on_the_same_run_is_refused_and_the_first_goes_on(undisturbed, tmp_path):
    first, _, expected = undisturbed
    pipeline = Pipeline(copy(first.folder, tmp_path / "casa"), first.environment)
    process = pipeline.start("02_treino_llama3")
    while not (pipeline.run / "em_uso.json").is_file():
        assert process.poll() is None, pipeline.said()[-2000:]
        time.sleep(0.01)
    second = pipeline.start("04_comparacao", said=tmp_path / "segundo")
    assert second.wait(120) == 1
    assert "Outro caderno usa esta rodada: o passo 02_treino_llama3" in pipeline.said()
    assert process.wait(300) == 0
    check(pipeline, expected, tmp_path / "conta")


def test_no_process_of_the_line_is_left(undisturbed):
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    assert [line for line in listed.splitlines() if "pytest" in line and "local_finetune_api" in line] == []


def test_running_it_all_again_changes_nothing_and_other_parameters_are_refused(undisturbed, tmp_path):
    first, *_ = undisturbed
    pipeline = Pipeline(copy(first.folder, tmp_path / "casa"), first.environment)
    before = _hashes(pipeline.run)
    assert len(before) == 5
    pipeline.finish(*NOTEBOOKS)
    assert _hashes(pipeline.run) == before
    pipeline.parameters |= {"MAX_PASSOS": 9}
    assert pipeline.start("02_treino_llama3").wait(300) == 1
    assert "MAX_PASSOS: era 5, agora 9" in pipeline.said() and _hashes(pipeline.run) == before


def _hashes(run):
    """O que foi treinado e respondido, pelo hash de cada arquivo."""
    kept = [
        path for name in ("treino.json", "respostas.jsonl", "adaptador/*.safetensors") for path in run.glob(f"*/{name}")
    ]
    return {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}
