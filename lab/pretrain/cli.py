"""`dept-lab pretrain-mini` and `pretrain-mini-clip`: the embedded models made anew."""

from pathlib import Path
from typing import Annotated

import typer

from dept.flags import STOPPED


def pretrain_mini(
    steps: Annotated[int, typer.Option(help="Optimiser steps before the last, noisy ones.", min=1)] = 8_600,
    minutes: Annotated[
        float | None, typer.Option(help="Stop after so many; --resume goes on.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the weights and the examples.", min=0)] = 0,
    output_dir: Annotated[Path, typer.Option(help="Where checkpoints and model/ go.")] = Path("runs/mini-t5"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
) -> int:
    """Make the embedded backbone mini-t5 anew, from installed packages and the project's own generators."""
    from lab.pretrain.loop import PretrainConfig, pretrain

    config = PretrainConfig(steps=steps, seed=seed)
    if pretrain(output_dir, config, resume=resume, minutes=minutes) is None:
        return STOPPED
    print(f"Model: {output_dir / 'model'}")
    return 0


def pretrain_mini_clip(
    steps: Annotated[int, typer.Option(help="Optimiser steps.", min=1)] = 2_000,
    seed: Annotated[int, typer.Option(help="Of the weights and the pictures.", min=0)] = 0,
    output_dir: Annotated[Path, typer.Option(help="Where checkpoints and model/ go.")] = Path("runs/mini-clip"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
) -> None:
    """Make the embedded image tower mini-clip anew, from pictures that are drawn on the spot."""
    from lab.pretrain.clip_loop import ClipConfig, pretrain_clip

    pretrain_clip(output_dir, ClipConfig(steps=steps, seed=seed), resume=resume)
    print(f"Model: {output_dir / 'model'}")
