"""The whole page: its tabs, the connections between them, and its launch."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from dept.errors import ConfigError
from lab.estimate.plan import read_ahead
from lab.service.owners import new_token
from lab.ui import results, speed
from lab.ui.components.theme import css, head, serve_scripts, theme
from lab.ui.runs import tab as runs
from lab.ui.site import QUIET, STORAGE_KEY, PageConfig, Site
from lab.ui.train import tab as train
from lab.ui.try_it import tab as try_it

_HEAD = """<header class="page-head"><h1>DePT Lab</h1>
<p>Prompt tuning (PT) puts l trainable vectors before a frozen language model. DePT keeps m of them and spends the rest
on a low-rank update of the word embeddings: as many parameters, a shorter input
(<a href="https://arxiv.org/abs/2309.05173" target="_blank" rel="noopener">Shi and Lipani, ICLR 2024</a>).</p>
<button type="button">Dark or light</button></header>"""
_HEAD_SCRIPT = """
element.querySelector("button").addEventListener("click", () => document.body.classList.toggle("dark"));
"""
_ZERO_GPU = """<p class="fine">This Space lends a GPU for a minute at a time: predictions and the speed comparison use
it. Training takes longer, so it runs on the CPU, in a process of its own.</p>"""
# The run in the address and the token in the browser are read together when the page opens.
_OPENED = """(identity, run) => {
  const page = new URL(window.location);
  const key = page.searchParams.get("operator");
  if (key !== null) {
    page.searchParams.delete("operator");
    window.history.replaceState(null, "", page);
  }
  const kept = identity && typeof identity === "object" ? identity : {};
  return [key === null ? kept : { ...kept, key }, page.searchParams.get("run") || ""];
}"""
_TABS = ("train", "runs", "speed", "results", "try")


def build_page(config: PageConfig | None = None) -> tuple[gr.Blocks, Site]:
    """Build the page and its services; nothing is started.

    Raises:
        RunError: the folder of runs cannot be used.
    """
    site = Site(config or PageConfig())
    with gr.Blocks(title="DePT Lab", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        identity = gr.BrowserState({}, storage_key=STORAGE_KEY, secret=STORAGE_KEY)
        gr.HTML(_HEAD, js_on_load=_HEAD_SCRIPT, apply_default_css=False)
        if site.config.zero_gpu:
            gr.HTML(_ZERO_GPU, apply_default_css=False)
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab("Train", id="train"):
                training = train.build(site, identity)
            with gr.Tab("Runs", id="runs") as runs_tab:
                running = runs.build(site, identity)
            with gr.Tab("Speed", id="speed") as speed_tab:
                speed_timer, find_measurement = speed.build(site, identity)
            with gr.Tab("Results", id="results") as results_tab:
                look_at_results = results.build(site, identity)
            with gr.Tab("Try it", id="try") as try_tab:
                look_at_adapters = try_it.build(site, identity)
        _connect(site, page, identity, tabs, training, running, speed_timer)
        runs_tab.select(**running.look)
        speed_tab.select(**find_measurement)
        results_tab.select(**look_at_results)
        try_tab.select(**look_at_adapters)
    return page, site


def _connect(
    site: Site,
    page: gr.Blocks,
    identity: gr.BrowserState,
    tabs: gr.Tabs,
    training: train.TrainTab,
    running: runs.RunsTab,
    speed_timer: gr.Timer,
) -> None:

    def opened(stored: Any, run: Any) -> tuple[Any, str, Any, Any]:
        """The visitor's token, made at the first visit; the Runs tab if the address names a run."""
        identity = dict(stored) if isinstance(stored, dict) else {}
        identity.setdefault("token", new_token())
        shown = gr.Tabs(selected="runs") if run else gr.skip()
        return identity, str(run or ""), shown, gr.Timer(active=bool(run))

    def changed(event: gr.SelectData) -> tuple[Any, Any]:
        """Only the visible tab polls the server."""
        return gr.Timer(active=event.value == "Runs"), gr.Timer(active=event.value == "Speed")

    page.load(
        opened, [identity, running.opened], [identity, running.opened, tabs, running.timer], js=_OPENED, **QUIET
    ).then(**training.look).then(**running.look)
    tabs.select(changed, None, [running.timer, speed_timer], **QUIET)
    training.launched.change(
        lambda ids: (ids, gr.Tabs(selected="runs"), gr.Timer(active=True)),
        training.launched, [running.opened, tabs, running.timer], **QUIET,
    )  # fmt: skip
    running.repeat.click(running.request_of, [identity, running.opened], training.fields, **QUIET).then(
        lambda: gr.Tabs(selected="train"), None, tabs, **QUIET
    )


def launch(
    config: PageConfig | None = None,
    *,
    host: str | None = None,
    port: int | None = None,
    users: Sequence[tuple[str, str]] = (),
) -> None:
    """Serve the page until it is stopped; training runs go on.

    Args:
        host: by default GRADIO_SERVER_NAME, else 127.0.0.1.
        port: by default GRADIO_SERVER_PORT, else the first free one from 7860.
        users: (name, password) pairs; without any, everybody who reaches the address may use the page.

    Raises:
        RunError: the folder of runs cannot be used.
        ConfigError: the port is taken.
    """
    page, site = build_page(config)
    serve_scripts()
    page.queue(default_concurrency_limit=4, max_size=200)
    with site.queue.watched():
        try:
            _, address, _ = page.launch(
                server_name=host,
                server_port=port,
                auth=list(users) or None,
                inbrowser=False,
                quiet=True,
                show_error=False,
                share=False,
                footer_links=["gradio", "settings"],
                run_history=False,
                enable_monitoring=False,
                mcp_server=False,
                ssr_mode=False,
                pwa=False,
                max_file_size=site.config.limits.upload_bytes,
                blocked_paths=[str(site.queue.folder.root)],
                theme=theme(),
                css=css(),
                head=head(),
                prevent_thread_lock=True,
            )
        except OSError:  # gradio's own message is about its settings
            where = f"{host or 'this address'}, port {port or '7860 and the next hundred'}"
            raise ConfigError(f"{where}: taken, or no address of this machine") from None
        print(f"DePT Lab: {address}")
        print(f"For you, who may see and stop every run: {address}?operator={site.operator_key}", flush=True)
        read_ahead([str(folder) for folder in site.config.allowed.backbone_folders.values()])
        page.block_thread()
