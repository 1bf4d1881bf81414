"""O Drive de mentira: montar só garante a pasta."""

from pathlib import Path


def mount(mountpoint: str, **_: object) -> None:
    """Cria ``mountpoint/MyDrive``; TypeError se o ponto não é absoluto, como o Colab pede."""
    if not Path(mountpoint).is_absolute():
        raise TypeError(f"O ponto de montagem {mountpoint} deveria ser absoluto.")
    (Path(mountpoint) / "MyDrive").mkdir(parents=True, exist_ok=True)
