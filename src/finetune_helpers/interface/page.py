"""A página: três abas em português, sem nada de fora desta máquina, e quem pode entrar nela."""

import io
import secrets
import time
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import gradio as gr
from gradio import tunneling

from ..errors import InputError, MachineError
from . import tabs
from .systems import Systems, find
from .tabs import Room

USER = "turma"
PEOPLE = 64  # pedidos na fila ao mesmo tempo
# O Gradio escolhe a língua dos próprios rótulos pela do navegador.
HEAD = """<script>
for (const [name, value] of [["language", "pt-BR"], ["languages", ["pt-BR"]]])
  Object.defineProperty(navigator, name, { get: () => value });
document.documentElement.lang = "pt-BR";
</script>"""
# Sem isto o texto em destaque se parte no meio das palavras.
CSS = "#copiadas .text, #copiadas .textfield { word-break: normal !important; overflow-wrap: anywhere; }"


@dataclass(frozen=True)
class Page:
    """Uma página aberta: endereço nesta máquina, endereço público e senha (vazios sem ``share``)."""

    url: str
    public_url: str
    password: str = field(repr=False)
    room: Room = field(repr=False)
    blocks: gr.Blocks = field(repr=False)

    def presentation(self) -> str:
        """Onde a página está e, se é pública, o usuário e a senha: o único lugar em que a senha aparece."""
        if not self.public_url:
            return f"Página em {self.url}"
        return f"Página em {self.public_url}\nUsuário: {USER}   Senha: {self.password}"

    def close(self) -> None:
        """Fecha a página e encerra os servidores que ela iniciou."""
        self.blocks.close(verbose=False)
        for tunnel in [open_ for open_ in tunneling.CURRENT_TUNNELS if open_.local_port == self.blocks.server_port]:
            with redirect_stdout(io.StringIO()):
                tunnel.kill()
        self.room.systems.closing.close()

    def wait(self, seconds: float = 0) -> None:
        """Espera ``seconds`` (0: até alguém interromper a célula ou o programa) e fecha a página."""
        until = time.monotonic() + seconds
        try:
            while not seconds or time.monotonic() < until:
                time.sleep(0.2)
        except KeyboardInterrupt:
            pass
        finally:
            self.close()


def open_page(
    run_folder: Path | str,
    *,
    systems: Systems | None = None,
    port: int | None = None,
    share: bool = False,
    inline: bool | None = None,
) -> Page:
    """Abre a página da rodada nesta máquina; com ``share``, também num endereço público com senha sorteada.

    ``resultados/X`` usa os dados de ``dados/X``; sem ``systems``, responde quem ``find`` acha. InputError se a rodada
    não existe; MachineError se a porta está ocupada ou o endereço público não sai.
    """
    run = Path(run_folder).resolve()
    if not run.is_dir():
        raise InputError(f"A rodada {run.name} não existe. Execute antes os cadernos 01 a 04 com ela (`run`).")
    room = Room(run, run.parents[1] / "dados" / run.name, systems or find(run))
    password = secrets.token_urlsafe(12) if share else ""
    # Só fontes do sistema: nada vem de fora.
    theme = gr.themes.Default(primary_hue="blue", font="system-ui", font_mono="ui-monospace").set(
        block_info_text_color="*neutral_600", block_info_text_color_dark="*neutral_300"
    )
    blocks = build(room)
    welcome = f"Escreva {USER} em username e, em password, a senha que recebeu de quem abriu a página."
    try:
        # O Gradio avisa em inglês, e com o endereço sem a senha; os avisos são os nossos.
        with redirect_stdout(io.StringIO()):
            _, url, public = blocks.launch(
                server_name="127.0.0.1",
                server_port=port,
                share=bool(password),
                auth=(USER, password) if password else None,
                auth_message=welcome if password else None,
                prevent_thread_lock=True,
                inline=False if password else inline,
                quiet=True,
                footer_links=[],
                run_history=False,
                enable_monitoring=False,
                max_file_size="1kb",
                ssr_mode=False,
                mcp_server=False,
                state_session_capacity=1000,
                theme=theme,
                head=HEAD,
                css=CSS,
            )
    except OSError as error:
        room.systems.closing.close()
        raise MachineError(f"A porta {port or 'pedida'} está ocupada. Escolha outra em --porta. ({error})") from error
    # O modelo de página pública do Gradio busca o programa num servidor de fora; o daqui serve aos dois endereços.
    blocks.share = False
    page = Page(url, public or "", password, room, blocks)
    if password and not public:
        page.close()
        raise MachineError("O endereço público não saiu: confira a rede, ou desmarque `share`.")
    return page


def build(room: Room) -> gr.Blocks:
    """As três abas de uma rodada."""
    with gr.Blocks(title="Ajuste fino: perguntar e comparar", analytics_enabled=False) as blocks:
        gr.Markdown(f"# Conversa com os modelos\nRodada **{room.run.name}**. {_presence(room)}")
        with gr.Tab("Perguntar"):
            tabs.ask_tab(room)
        with gr.Tab("Comparar"):
            tabs.compare_tab(room)
        with gr.Tab("Resultados") as results:
            tabs.results_tab(room, results)
    # Os modelos desta máquina respondem um pedido por vez; os outros eventos não esperam por eles.
    return blocks.queue(max_size=PEOPLE, default_concurrency_limit=1, api_open=False)


def _presence(room: Room) -> str:
    """O que esperar da página e, de quem não responde, por quê."""
    absent: dict[str, list[str]] = {}
    for system in room.systems.every:
        if not system.write:
            absent.setdefault(system.reason, []).append(system.label)
    lines = [f"Não respondem: {'; '.join(names)}. {reason}" for reason, names in absent.items()]
    return "\n\n".join(["Os modelos escrevem em inglês e podem inventar: nada aqui é fato conferido.", *lines])
