"""Os Secrets de mentira: nenhum foi criado."""


class SecretNotFoundError(Exception):
    """O segredo não existe."""


class NotebookAccessError(Exception):
    """O caderno não tem acesso ao segredo."""


def get(key: str) -> str:
    """Nenhum segredo existe: SecretNotFoundError."""
    raise SecretNotFoundError(key)
