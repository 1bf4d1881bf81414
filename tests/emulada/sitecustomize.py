"""O ramo CUDA também nos ensaios do caderno 05, que são outros processos, se EMULAR_ENSAIOS está no ambiente."""

import os

if os.environ.get("EMULAR_ENSAIOS"):
    import ligar  # noqa: F401

    from finetune_helpers.training import model

    arguments = model.model_arguments
    on_cpu = {"device_map": "cpu", "use_gradient_checkpointing": False}
    model.model_arguments = lambda *asked: arguments(*asked) | on_cpu
    model.point_unsloth = lambda profile: None
