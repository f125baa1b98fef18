"""`dept-lab app`: the page."""

from pathlib import Path
from typing import Annotated

import typer

from dept.basics.extras import check_extra
from dept.flags import run_app


def serve(
    host: Annotated[
        str,
        typer.Option(envvar="GRADIO_SERVER_NAME", help="Address to listen at; 0.0.0.0 lets other machines in."),
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65535,
            envvar="GRADIO_SERVER_PORT",
            help="[7860, or the next one that is free]",
            show_default=False,
        ),
    ] = None,
    runs: Annotated[Path, typer.Option(metavar="FOLDER", envvar="DEPT_RUNS", help="Folder of runs.")] = Path("runs"),
    limits: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="DEPT_LIMITS",
            help="YAML of limits for people, queue, steps, time [lab/service/limits.py].",
        ),
    ] = None,
    users: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Lines name:password; nobody else gets in [everybody].")
    ] = None,
    data_folder: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="Data folder that may be chosen, by its last name (repeatable)."),
    ] = None,
    backbone_folder: Annotated[
        list[Path] | None, typer.Option(metavar="FOLDER", help="Backbone folder that may be chosen (repeatable).")
    ] = None,
    tower_folder: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="Image encoder's folder that may be chosen (repeatable)."),
    ] = None,
    backbone: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Hub id that may be chosen beside the aliases (repeatable).")
    ] = None,
    hub: Annotated[bool, typer.Option(help="Whether rows may be fetched from the hub.")] = True,
    hub_images: Annotated[
        bool, typer.Option(help="Whether rows with images may be too: downloads of tens of GB.")
    ] = False,
    uploads: Annotated[bool, typer.Option(help="Whether visitors may bring their own rows.")] = True,
) -> None:
    """Serve the page: choose, train, watch, compare. Runs go on when it is stopped or closed."""
    check_extra("lab", "the page")
    from lab.service.allowed import Allowed
    from lab.service.limits import Limits

    aliases = Allowed().backbones
    checked_limits = Limits.from_file(limits) if limits is not None else Limits()
    allowed = Allowed.named(
        tuple(backbone_folder or ()),
        tuple(data_folder or ()),
        tuple(tower_folder or ()),
        backbones=(*aliases, *(name for name in backbone or () if name not in aliases)),
        hub=hub,
        hub_images=hub_images,
        uploads=uploads,
    )
    from lab.ui.page import launch  # imports gradio
    from lab.ui.site import PageConfig, read_users

    config = PageConfig(root=runs, limits=checked_limits, allowed=allowed)
    launch(config, host=host, port=port, users=read_users(users) if users is not None else ())


def main() -> int:
    """`python app.py`: the page alone; the exit code."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(serve)
    return run_app(app)
