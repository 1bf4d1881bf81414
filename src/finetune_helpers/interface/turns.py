"""A vez de cada visitante: uma geração por máquina, em ordem de chegada, e um botão de parar que para."""

from collections import deque
from threading import Event, Lock

from ..errors import InputError

WAITING = 8


class Turn:
    """Fila de um recurso: ``width`` respostas ao mesmo tempo e até ``room`` visitantes, contando os atendidos."""

    def __init__(self, width: int = 1, room: int = WAITING):
        self.width, self.room = width, room
        self._tickets: deque[object] = deque()
        self._lock = Lock()

    def enter(self) -> object:
        """Entra na fila e devolve a senha; InputError com a fila cheia."""
        with self._lock:
            if len(self._tickets) >= self.room:
                raise InputError(
                    f"A fila está cheia: {self.room} pessoas já esperam resposta. Tente de novo em um minuto."
                )
            ticket = object()
            self._tickets.append(ticket)
            return ticket

    def ahead(self, ticket: object) -> int:
        """Quantas pessoas ainda precisam terminar antes desta; 0 é a vez dela."""
        with self._lock:
            return max(0, self._tickets.index(ticket) + 1 - self.width)

    def leave(self, ticket: object) -> None:
        """Sai da fila, atendido ou não."""
        with self._lock:
            self._tickets.remove(ticket)


class Visits:
    """O que para a resposta de cada visitante, pela sessão do navegador; uma resposta por visitante."""

    def __init__(self) -> None:
        self._stops: dict[str | None, Event] = {}
        self._lock = Lock()

    def start(self, session: str | None) -> Event:
        """O aviso de parada de uma resposta nova; a anterior da mesma sessão para."""
        with self._lock:
            self._set(session)
            return self._stops.setdefault(session, Event())

    def stop(self, session: str | None) -> None:
        """Para a resposta da sessão, se há uma."""
        with self._lock:
            self._set(session)

    def stop_all(self) -> None:
        """Para todas as respostas: a página vai fechar."""
        with self._lock:
            for session in list(self._stops):
                self._set(session)

    def _set(self, session: str | None) -> None:
        if stop := self._stops.pop(session, None):
            stop.set()
