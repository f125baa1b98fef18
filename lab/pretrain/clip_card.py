"""The model card of `mini-clip`, written beside its weights from what the run measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import CLIPVisionModel

from lab.pretrain.drawings import COLOURS, SHAPES

_TEXT = """---
license: mit
library_name: transformers
pipeline_tag: image-feature-extraction
---

# mini-clip

The image tower of a tiny CLIP, of {parameters:,} parameters: a ViT of {layers} layers and width {width} over
{positions} patches of {patch} x {patch} pixels. It was made to try `vqa` and `coco_captions` in a minute or two on a
CPU, offline, comes with `dept` (`--vision-backbone mini-clip`) and is the image encoder of `--backbone mini-t5` where
no other is named. The pair goes by no name of its own: what one might call mini-clip-t5 is
`--backbone mini-t5 --vision-backbone mini-clip`. **No number on it is comparable with the paper's**: it knows drawn
shapes, and has never seen a photograph.

## What it was trained on

Pictures drawn on the spot (`lab/pretrain/drawings.py`), each of one to four shapes on a light background, of any size
and place:

- {shapes};
- {colours}.

"blob" is any other shape and "colored" any other colour: so that a colour is not known by the shapes that it comes
with. A caption has a phrase for each shape, such as "red circle top left". Of the samples' pairs of a colour and a
shape (`dept/tasks/samples/scenes.py`), only the shared and the training part's were drawn: those of the validation and
test parts it has never seen. Brown, teal and rectangles are there for the package easy-vqa, none of whose pictures was
used.

The loss is contrastive: which caption is a picture's, among the captions of all pictures of a batch and some that are
nearly right (words exchanged between two phrases, a word replaced), and which picture a caption's. As in FILIP (Yao et
al., 2021) each phrase looks for the patch that is most like it. The text side is a vector for each word and a phrase
the sum of its words, so that colour, shape and place can be read from one patch's features by a linear map. That is
what a soft prompt's visual projection needs; the class token learns nothing. The text side is not contained.

## What it can and cannot do

Per cent, on scenes of the samples' test part. Colour, shape, row, column: how often a linear probe reads them from the
patch that a shape is in, of pairs that training never showed. Occupied: of all patches. Captions: how often a picture
is more like its caption than like each of 15 that are nearly the same (this takes the text side).

{table}

It tells flat, one-coloured shapes on a plain light background. The patches are the ninths of a picture, and so are
the cells of the samples' scenes: there a shape lies within one patch, in general across several. On photographs its
features mean nothing: take `clip-vit-base-patch32` for those.

## How it was made

`dept-lab pretrain-mini-clip --steps {steps} --seed {seed}`: {pictures:,} pictures, {minutes:.1f} minutes on {threads}
CPU core{plural}, torch {torch}, commit {commit}. The same seed gives the same pictures, and on one machine and
thread the same weights.

The model is MIT-licensed, as the project; it is derived from nothing else.
"""


def clip_card(training: Mapping[str, Any], tower: CLIPVisionModel) -> str:
    """README.md of the tower's folder.

    Args:
        training: what training.json holds.
    """
    config, scores = tower.config, training["scores"]
    return _TEXT.format(
        parameters=tower.num_parameters(),
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        positions=tower.embeddings.num_patches,
        patch=config.patch_size,
        shapes=_listed(SHAPES),
        colours=_listed(tuple(COLOURS)),
        table=f"| {' | '.join(scores)} |\n{'|---' * len(scores)}|\n| {' | '.join(map(str, scores.values()))} |",
        pictures=training["steps"] * training["batch_size"],
        plural="" if training["threads"] == 1 else "s",
        commit=str(training["commit"])[:12],
        **{name: training[name] for name in ("steps", "seed", "minutes", "threads", "torch")},
    )


def _listed(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
