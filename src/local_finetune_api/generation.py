"""Processo que responde: ``python -m local_finetune_api.generation``.

Recebe pela entrada padrão um lote por linha (JSON) e escreve na saída trechos e respostas, um JSON por linha. O modelo
base fica na memória; cada adaptador entra uma vez. Quando a entrada fecha, o processo acaba e a memória volta inteira.
"""

import json
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

from finetune_helpers import answers
from finetune_helpers.errors import FinetuneError

from . import base_models
from .server import trace, without_paths


def main() -> None:
    """Atende lotes até a entrada fechar; ``{"stop": true}`` interrompe o lote em andamento."""
    # Unsloth e transformers escrevem na saída padrão; o protocolo fica só para nós.
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def send(message: dict) -> None:
        channel.write(json.dumps(message, ensure_ascii=False) + "\n")
        channel.flush()

    loaded: dict = {}
    requests, stop = _listening()
    while request := requests.get():
        stop.clear()
        try:
            answer(loaded, request, send, stop)
        except Exception as error:
            # O servidor descarta o processo assim que lê a falha: o rastro vai antes para o registro.
            print(trace(error), file=sys.stderr, flush=True)
            known = without_paths(str(error)) if isinstance(error, FinetuneError) else ""
            send({"failed": known or "A geração falhou. Veja o registro do servidor e tente de novo."})
            return


def _listening() -> tuple[SimpleQueue, Event]:
    """Pedidos na ordem em que chegam, None quando a entrada fecha, e o aviso de parar o que está em andamento."""
    requests: SimpleQueue = SimpleQueue()
    stop = Event()

    def listen() -> None:
        for line in sys.stdin:
            message = json.loads(line)
            if message.get("stop"):
                stop.set()
            else:
                requests.put(message)
        requests.put(None)

    Thread(target=listen, daemon=True).start()
    return requests, stop


def answer(loaded: dict, request: dict, send: Callable[[dict], None], stop: Event) -> None:
    """Responde a um lote por ``send``; ``loaded`` guarda o modelo de um lote para o outro."""
    model, tokenizer, model_id = _ready(loaded, request["source"], request["adapter"])
    from finetune_helpers.training import measures  # só depois de carregar: o Unsloth entra antes do transformers

    texts = [base_models.prompt(tokenizer, row["messages"]) for row in request["rows"]]
    lengths = [len(measures.encode(tokenizer, text)) for text in texts]
    limit = int(model.config.max_position_embeddings)
    fits = [index for index, length in enumerate(lengths) if length + 1 <= limit]
    for index in set(range(len(texts))) - set(fits):
        send({"row": index, "too_long": lengths[index], "limit": limit})

    def deliver(row: int, text: str) -> None:
        send({"row": fits[row], "delta": text})

    asked = [texts[index] for index in fits]
    options: dict[str, Any] = {
        "limits": [min(request["rows"][index]["max_tokens"], limit - lengths[index]) for index in fits],
        "sampling": measures.Sampling(request["temperature"], request["top_p"]),
        "on_text": deliver if request["stream"] else None,
        "stop": stop,
    }
    with nullcontext() if request["adapter"] else _without_adapter(model):
        written = measures.generate(model, tokenizer, asked, **options) if fits else []
    for index, reply in zip(fits, written, strict=True):
        counts = {"tokens_in": reply.tokens_in, "tokens_out": reply.tokens_out}
        ended = {"finish_reason": reply.finish_reason, "model_id": model_id}
        send({"row": index, "text": reply.text, **counts, **ended})
    send({"done": True})


def _ready(loaded: dict, source: str, adapter: str) -> tuple[Any, Any, str]:
    """Modelo, tokenizador e que pesos são; um modelo base por vez, com tantos adaptadores quantos forem pedidos."""
    from finetune_helpers import training

    if loaded.get("source") != source:
        loaded.clear()
        profile = base_models.profile(base_models.of_source(source, source))
        model, tokenizer = training.load(profile)
        loaded.update(source=source, model=training.to_answer(model, profile), tokenizer=tokenizer)
        loaded.update(base_id=training.base_id(profile), hashes={"": ""})
    if adapter:
        loaded["model"] = _with_adapter(loaded["model"], Path(adapter))
        if adapter not in loaded["hashes"]:
            loaded["hashes"][adapter] = training.adapter_hash(Path(adapter))
    name, _, revision = loaded["base_id"].rpartition("@")
    return loaded["model"], loaded["tokenizer"], answers.model_id(name, revision, loaded["hashes"][adapter])


def _with_adapter(model: Any, folder: Path) -> Any:
    from peft import PeftModel

    name = f"{folder.parents[1].name}-{folder.name}"
    if not isinstance(model, PeftModel):
        model = PeftModel.from_pretrained(model, str(folder), adapter_name=name)
    elif name not in model.peft_config:
        model.load_adapter(str(folder), adapter_name=name)
    model.set_adapter(name)
    return model.eval()


def _without_adapter(model: Any) -> Any:
    from peft import PeftModel

    return model.disable_adapter() if isinstance(model, PeftModel) else nullcontext()


if __name__ == "__main__":
    main()
