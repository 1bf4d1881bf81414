"""Listas em páginas, com a forma da OpenAI."""

from .api_errors import not_found


def page(rows: list[dict], after: str | None, limit: int) -> dict:
    """Até ``limit`` linhas depois da que tem o id ``after``; 404 se esse id não está na lista."""
    start = 0
    # Conforme a versão do FastAPI, um id vazio na URL chega como texto vazio ou como ausente: os dois são o começo.
    if after:
        positions = [index for index, row in enumerate(rows) if row["id"] == after]
        if not positions:
            raise not_found("item nesta lista", after, param="after")
        start = positions[0] + 1
    chosen = rows[start : start + limit]
    ends = {"first_id": chosen[0]["id"], "last_id": chosen[-1]["id"]} if chosen else {}
    return {"object": "list", "data": chosen, "has_more": start + limit < len(rows), **ends}
