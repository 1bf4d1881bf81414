"""Os cadernos de verdade num processo que os testes matam, e os números com que se confere o que sobrou."""

import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import openpyxl
import psutil

import finetune_helpers
from finetune_helpers import comparison

ROOT = Path(__file__).parents[1]
FAULTS = Path(__file__).parent / "falhas"
NOTEBOOKS = ("01_curadoria", "02_treino_llama3", "03_treino_gpt", "04_comparacao")
SHORT = {"N_TREINO": 26, "N_TESTE": 8, "MAX_PASSOS": 5, "MOTOR": "transformers", "TOKENS_RESPOSTA": 8}
SHORT |= {"FLEXIBILIDADE_POR_FAMILIA": 1, "SEMELHANCA": "False"}


@dataclass(frozen=True)
class Moment:
    """Quando matar: ``seconds`` depois do começo, ou na ``changes``-ésima mudança vista nas pastas da rodada.

    ``everything`` mata de uma vez o caderno e tudo o que ele começou, como a queda da máquina; sem ele morre só o
    caderno, como um kernel sem memória, e o resto tem de acabar sozinho.
    """

    notebook: str
    seconds: float | None
    changes: int | None
    everything: bool

    def __str__(self) -> str:
        when = f"{self.seconds:.1f} s" if self.changes is None else f"{self.changes}ª mudança"
        return f"{when}, {'tudo' if self.everything else 'só o caderno'}"


@dataclass
class Pipeline:
    """Uma pasta de trabalho com a sua linha de produção; ``environment`` vai para todos os processos."""

    folder: Path
    environment: dict[str, str]
    parameters: dict = field(default_factory=lambda: dict(SHORT))
    name: str = "demonstracao"
    _said: Path = Path()

    @property
    def run(self) -> Path:
        """A pasta da rodada."""
        return self.folder / "resultados" / self.name

    def start(self, *notebooks: str, said: Path | None = None) -> subprocess.Popen:
        """Começa a executar os cadernos, em um processo à parte, que escreve no arquivo ``said``."""
        self._said = said or self.folder.with_suffix(".saida")
        given = [part for key, value in self.parameters.items() for part in ("-p", key, str(value))]
        command = [sys.executable, "colab/executar.py", "--pasta", str(self.folder), "--rodada", self.name]
        command += ["--cadernos", *notebooks, *given]
        # Os processos da linha leem o mesmo código que os testes, e o que os testes mudam nele.
        path = os.pathsep.join([str(FAULTS), str(Path(finetune_helpers.__file__).parents[1])])
        changed = os.environ | {"PYTHONPATH": path} | self.environment
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self._said, "wb") as output:
            streams = {"stdout": output, "stderr": output, "start_new_session": True}
            return subprocess.Popen(command, cwd=ROOT, env=changed, **streams)

    def finish(self, *notebooks: str, said: Path | None = None) -> None:
        """Executa os cadernos até o fim; falha com o que eles escreveram."""
        assert self.start(*notebooks, said=said).wait(1800) == 0, self.said()[-3000:]

    def said(self) -> str:
        """O que a última execução escreveu no terminal."""
        return self._said.read_text(errors="replace")

    def files(self) -> dict[str, tuple[int, int]]:
        """Tamanho e instante de cada arquivo da rodada, fora a trava e as cópias dos cadernos."""
        found: dict[str, tuple[int, int]] = {}
        for start in (self.folder / "dados" / self.name, self.run):
            for folder, folders, names in os.walk(start):
                folders[:] = [name for name in folders if name != "cadernos"]
                for path in (os.path.join(folder, name) for name in names if "em_uso" not in name):
                    with suppress(OSError):
                        stat = os.lstat(path)
                        found[path] = (stat.st_size, stat.st_mtime_ns)
        return found


@dataclass
class Watch:
    """As mudanças vistas na rodada enquanto um processo corre."""

    pipeline: Pipeline
    process: subprocess.Popen
    changes: int = 0
    last: str = "nada ainda"

    def __post_init__(self) -> None:
        self._seen, self._started = self.pipeline.files(), time.monotonic()

    def until(self, moment: Moment) -> bool:
        """Espera o momento; falso se o processo acabou antes."""
        while self.process.poll() is None:
            self._look()
            late = moment.seconds is not None and self.seconds >= moment.seconds
            if late or (moment.changes is not None and self.changes >= moment.changes):
                return True
            time.sleep(0.002)
        return False

    def until_end(self) -> None:
        """Acompanha o processo até ele acabar."""
        self.until(Moment("", None, None, True))
        self._look()

    @property
    def seconds(self) -> float:
        """Segundos desde que se começou a olhar."""
        return time.monotonic() - self._started

    def _look(self) -> None:
        now = self.pipeline.files()
        changed = [path for path in now if now[path] != self._seen.get(path)]
        if changed or len(now) != len(self._seen):
            self.changes += 1
            gone = [path for path in self._seen if path not in now]
            self.last = str(Path((changed or gone)[0]).relative_to(self.pipeline.folder))
            self._seen = now


def kill(process: subprocess.Popen, everything: bool) -> list[psutil.Process]:
    """SIGKILL no caderno (e em tudo o que ele começou); devolve os que ficaram órfãos."""
    family: list[psutil.Process] = []
    # Todos parados antes: nenhum vê o outro morrer, nem começa mais um.
    while fresh := [one for one in _tree(process) if one not in family]:
        _send(signal.SIGSTOP, fresh)
        family += fresh
    doomed = family if everything else [one for one in family if one.pid == process.pid or _is_kernel(one)]
    _send(signal.SIGKILL, doomed)
    orphans = [one for one in family if one not in doomed]
    _send(signal.SIGCONT, orphans)
    process.wait()
    return orphans


def _tree(process: subprocess.Popen) -> list[psutil.Process]:
    """O processo e todos os que ele começou."""
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(process.pid)
        return [root, *root.children(recursive=True)]
    return []


def _send(what: signal.Signals, processes: list[psutil.Process]) -> None:
    for one in processes:
        with suppress(psutil.NoSuchProcess):
            one.send_signal(what)


def _is_kernel(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return any("ipykernel" in part for part in process.cmdline())
    return False


def survivors(orphans: list[psutil.Process], seconds: float = 20.0) -> list[psutil.Process]:
    """Os órfãos que ainda vivem depois de ``seconds``."""
    return psutil.wait_procs(orphans, timeout=seconds)[1]


def plan(seed: int, notebook: str, kills: int, seconds: float, changes: int) -> list[Moment]:
    """Momentos sorteados, ora por mudança, ora por tempo, espalhados pelo caderno inteiro.

    Cada volta continua a anterior e por isso é mais curta: as mudanças são contadas de uma morte à outra, e o tempo
    vai até a metade do que o caderno leva sem falha.
    """
    draw = random.Random(f"{seed}-{notebook}")
    marks = sorted(draw.sample(range(1, max(changes, kills) + 1), kills - kills // 2))
    steps = [mark - before for mark, before in zip(marks, [0, *marks], strict=False)]
    moments = []
    for number in range(kills):
        by_time = number % 2 == 1
        after = round(draw.uniform(1.0, max(1.5, seconds / 2)), 1) if by_time else None
        moments.append(Moment(notebook, after, None if by_time else steps[number // 2], draw.random() < 0.5))
    return moments


def copy(source: Path, target: Path) -> Path:
    """Troca ``target`` por uma cópia de ``source``."""
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(source, target))


NUMBER = re.compile(r"-?\d+(?:[.,]\d+)?(?:e-?\d+)?")
HOUR = 3600.0  # assim a queda da perda por hora é a própria queda, e vale a mesma tolerância
TIMED = {"seconds", "tokens_per_second", "peak_rss_gb", "peak_gpu_gb", "gpu_hours", "job_seconds"}


def _settled(text: str) -> str:
    """Um JSON sem o que depende do tempo nem do id que a API local sorteia para o treino."""
    value = _timeless(json.loads(re.sub(r'(ft:[^":]+:local:[^":]+:)[0-9a-f]{8}', r"\1treino", text)))
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _timeless(value: object) -> object:
    """O mesmo relatório com o que depende do relógio e da memória trocado por uma hora."""
    if isinstance(value, dict):
        return {
            key: (dict.fromkeys(row, HOUR) if isinstance(row, dict) else HOUR) if key in TIMED else _timeless(row)
            for key, row in value.items()
        }
    return [_timeless(row) for row in value] if isinstance(value, list) else value


def numbers(pipeline: Pipeline, work: Path) -> dict[str, object]:
    """Cada célula da planilha da rodada, refeita sem o que depende do tempo: aba e endereço → valor ou fórmula."""
    copied = copy(pipeline.folder, work)
    run = copied / "resultados" / pipeline.name
    for path in run.glob("*/treino.json"):
        path.write_text(_settled(path.read_text()))
    for path in run.glob("*/respostas.jsonl"):
        rows = sorted(map(_settled, path.read_text().splitlines()))
        path.write_text("".join(f"{row}\n" for row in rows))
    state = json.loads((run / "rodada.json").read_text())
    for step in state["passos"].values():
        step.pop("tempo", None)
    (run / "rodada.json").write_text(json.dumps(state))
    for path in run.glob("*/trabalho.json"):
        path.write_text("{}")
    shutil.rmtree(run / "cadernos", ignore_errors=True)
    (run / "comparacao.xlsx").unlink()
    book = openpyxl.load_workbook(comparison.write_workbook(run))
    return {
        f"{sheet.title}!{cell.coordinate}": cell.value
        for sheet in book
        for row in sheet.iter_rows()
        for cell in row
        if cell.value is not None
    }


def differences(left: dict[str, object], right: dict[str, object]) -> list[str]:
    """As células que não dizem o mesmo nas duas planilhas.

    As respostas são comparadas palavra por palavra, e delas saem as proporções; as contagens são inteiras. Um treino
    retomado dá os mesmos pesos, a menos do arredondamento, que muda com o lugar dos números na memória e que os
    primeiros passos do Adam ampliam: por isso um número pode diferir 0,001, e o hash do adaptador não conta.
    """
    cells = sorted(left.keys() | right.keys())
    return [
        f"{cell}: {left.get(cell)!r} ≠ {right.get(cell)!r}"
        for cell in cells
        if left.get(cell) != right.get(cell) and not _alike(left.get(cell), right.get(cell))
    ]


def _alike(left: object, right: object) -> bool:
    (words, numbers), (others, theirs) = _parts(left), _parts(right)
    return words == others and all(math.isclose(a, b, abs_tol=0.001) for a, b in zip(numbers, theirs, strict=True))


def _parts(value: object) -> tuple[list[str], list[float]]:
    """O texto de uma célula, sem hashes, e os números dele à parte."""
    text = re.sub(r"\b(?=[0-9a-f]*[a-f])[0-9a-f]{8,64}\b", "#", str(value))
    return NUMBER.split(text), [float(found.replace(",", ".")) for found in NUMBER.findall(text)]


def done_twice(pipeline: Pipeline) -> list[str]:
    """O que foi respondido, treinado ou enviado mais de uma vez."""
    found = []
    for path in pipeline.run.glob("*/respostas.jsonl"):
        keys = [(row["system"], row["suite"], row["item_id"]) for row in map(json.loads, path.read_text().splitlines())]
        found += [f"{path.parent.name}: respostas repetidas"] * (len(keys) > len(set(keys)))
    for path in pipeline.run.glob("*/treino.json"):
        steps = [point["step"] for point in json.loads(path.read_text())["loss_curve"]]
        found += [f"{path.parent.name}: passos {steps}"] * (steps != list(range(1, len(steps) + 1)))
    api = pipeline.run / "gpt" / "api_local"
    jobs = [json.loads(path.read_text()) for path in api.glob("jobs/*/job.json")]
    sent = [json.loads(path.read_text())["filename"] for path in api.glob("files/*/meta.json")]
    found += [f"{len(jobs)} treinos na API local"] * (len(jobs) != 1)
    found += [f"arquivos: {sorted(sent)}"] * (len(sent) != len(set(sent)))
    return found
