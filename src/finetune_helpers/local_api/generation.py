"""Processo que responde: ``python -m finetune_helpers.local_api.generation``.

Recebe pela entrada padrão um lote por linha (JSON) e escreve na saída trechos e respostas, um JSON por linha. O modelo
base fica na memória; cada adaptador entra uma vez. Quando a entrada fecha, o processo acaba e a memória volta inteira.
"""

import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import IO, Any

from ..errors import FinetuneError
from . import base_models, conversation
from .process_environment import trace, without_paths
from .settings import Settings


def main() -> None:
    """Atende lotes até a entrada fechar; ``{"stop": true}`` interrompe o lote em andamento."""
    # Unsloth e transformers escrevem na saída padrão; o protocolo fica só para nós.
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    loaded: dict = {}
    requests, stop = _listening()
    while request := requests.get():
        stop.clear()
        try:
            _answer(loaded, request, channel, stop)
        except Exception as error:
            # O processo é descartado depois de qualquer falha: o rastro fica no registro, a instrução sai sem caminhos.
            known = without_paths(str(error)) if isinstance(error, FinetuneError) else ""
            _send(channel, {"failed": known or "A geração falhou. Veja o registro do servidor e tente de novo."})
            print(trace(error), file=sys.stderr)
            return


def _listening() -> tuple[SimpleQueue, Event]:
    """Pedidos na ordem em que chegam, None quando a entrada fecha, e o aviso de parar o que está em andamento."""
    requests: SimpleQueue = SimpleQueue()
    stop = Event()

    def listen() -> None:
        for line in sys.stdin:
            given = json.loads(line)
            if given.get("stop"):
                stop.set()
            else:
                requests.put(given)
        requests.put(None)

    Thread(target=listen, daemon=True).start()
    return requests, stop


def _answer(loaded: dict, request: dict, channel: IO[str], stop: Event) -> None:
    model, tokenizer = _ready(loaded, request)
    texts = [conversation.prompt(tokenizer, row["messages"]) for row in request["rows"]]
    limit = _context(model)
    lengths = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    good = [index for index, length in enumerate(lengths) if length + 1 <= limit]
    for index in set(range(len(texts))) - set(good):
        _send(channel, {"row": index, "too_long": lengths[index], "limit": limit})
    if good:
        using = nullcontext() if request["adapter"] else _without_adapter(model)
        with using:
            _decode(
                model, tokenizer, request, [texts[i] for i in good], [lengths[i] for i in good], good, channel, stop
            )
    _send(channel, {"done": True})


def _decode(model, tokenizer, request, texts, lengths, indices, channel, stop) -> None:
    import torch

    from .decoding import Batch

    rows = [request["rows"][index] for index in indices]
    room = [min(row["max_tokens"], _context(model) - length) for row, length in zip(rows, lengths, strict=True)]
    ends = _ends(model, tokenizer)

    def deliver(at: int, text: str) -> None:
        _send(channel, {"row": indices[at], "delta": text})

    batch = Batch(tokenizer, rows, room, ends, deliver, stop)
    tokenizer.padding_side = "left"
    encoded = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False).to(model.device)
    sampling: dict[str, Any] = {"do_sample": False}
    if request["temperature"] > 0:
        sampling = {"do_sample": True, "temperature": request["temperature"], "top_p": request["top_p"], "top_k": 0}
    if request["seed"] is not None:
        torch.manual_seed(request["seed"])
    with torch.inference_mode():
        model.generate(
            input_ids=encoded["input_ids"],
            attention_mask=encoded["attention_mask"],
            max_new_tokens=max(room),
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=sorted(ends),
            stopping_criteria=[batch],
            use_cache=True,
            **sampling,
        )
    for index, length, finished in zip(indices, lengths, batch.finished(), strict=True):
        _send(channel, {"row": index, "tokens_in": length, **finished})


def _ready(loaded: dict, request: dict) -> tuple:
    """Modelo e tokenizador do pedido; um modelo base por vez, com tantos adaptadores quantos forem pedidos."""
    from ..training import lora

    if loaded.get("base") != request["base"]:
        loaded.clear()
        settings = Settings(Path(), "", tuple(map(tuple, request["local_models"])))
        profile = base_models.profile(base_models.catalogue(settings)[request["base"]])
        model, tokenizer = lora.load(profile)
        if profile.device == "cpu":
            # Os mesmos valores de 4 bits, expandidos uma vez: a CPU os expandiria de novo a cada token.
            model = model.dequantize()
        getattr(model, "for_inference", model.eval)()
        loaded.update(base=request["base"], model=model, tokenizer=tokenizer)
    if request["adapter"]:
        loaded["model"] = _with_adapter(loaded["model"], request["adapter"])
    return loaded["model"], loaded["tokenizer"]


def _with_adapter(model, folder: str):
    from peft import PeftModel

    name = Path(folder).parents[1].name + "-" + Path(folder).name
    if not isinstance(model, PeftModel):
        model = PeftModel.from_pretrained(model, folder, adapter_name=name)
    elif name not in model.peft_config:
        model.load_adapter(folder, adapter_name=name)
    model.set_adapter(name)
    return model.eval()


def _without_adapter(model):
    from peft import PeftModel

    return model.disable_adapter() if isinstance(model, PeftModel) else nullcontext()


def _ends(model, tokenizer) -> set[int]:
    """Tokens que encerram uma resposta: o do tokenizador e os que o modelo declara (o Harmony tem três)."""
    declared = model.generation_config.eos_token_id
    return {tokenizer.eos_token_id, *(declared if isinstance(declared, list) else [declared])} - {None}


def _context(model) -> int:
    return int(model.config.max_position_embeddings)


def _send(channel: IO[str], message: dict) -> None:
    channel.write(json.dumps(message, ensure_ascii=False) + "\n")
    channel.flush()


if __name__ == "__main__":
    main()
