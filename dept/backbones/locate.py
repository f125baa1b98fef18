"""Find the files of a backbone or image encoder by its name: embedded, in a package, in a local folder, on the hub."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from dept.backbones.known import DEFAULT_TOWER, Source, nearest, registry, suggestion
from dept.backbones.known_towers import known_towers
from dept.backbones.smollm2 import INSTALL, smollm2_folder
from dept.basics.faults import first_line
from dept.errors import BackboneError

Kind = Literal["backbone", "image encoder"]
_EMBEDDED = Path(__file__).parent / "embedded"  # an embedded model lies in a folder named by its alias, with _ for -
_INSTEAD: Mapping[
    Kind, tuple[str, str]
] = {  # suggestions when the hub fails: a shape for random:, a model that needs no hub
    "backbone": ("t5-base", f"smollm2-135m ({INSTALL})"),
    "image encoder": (DEFAULT_TOWER, "mini-clip"),
}


def locate(name: str, patterns: list[str], kind: Kind = "backbone") -> tuple[Path, Source]:
    """The local folder that holds the files of a backbone (or tokenizer) or image encoder that match `patterns`.

    Raises:
        BackboneError: there is no such folder or hub id, the model is gated, or the hub cannot be reached.
    """
    entry = _aliases(kind).get(name, {})
    if entry.get("source") == "package":
        return smollm2_folder(), "package"
    if entry.get("source") == "embedded":
        return _EMBEDDED / name.replace("-", "_"), "embedded"
    if "hub_id" in entry:
        return _download(name, entry["hub_id"], patterns, kind), "hub"
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder, "folder"
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise BackboneError(f"there is no folder {folder}")
    return _download(name, name, patterns, kind), "hub"


def _aliases(kind: Kind) -> Mapping[str, dict[str, Any]]:
    return registry() if kind == "backbone" else known_towers()


def _download(name: str, hub_id: str, patterns: list[str], kind: Kind) -> Path:
    """Fetch the files that match, or take them from the hub's cache. `patterns` never match pickles or code."""
    from huggingface_hub import errors, snapshot_download

    aliases = _aliases(kind)
    hint = suggestion(name) if kind == "backbone" else nearest(name, aliases)
    try:
        # Files in subfolders are other forms of the same weights (onnx/, flax/).
        return Path(snapshot_download(hub_id, allow_patterns=patterns, ignore_patterns=["*/*"]))
    except errors.HFValidationError as fault:
        raise BackboneError(f"{name!r} is no alias, folder or hub id{hint}") from fault
    except (errors.HTTPError, OSError) as fault:
        status = getattr(getattr(fault, "response", None), "status_code", None)
        is_refused = isinstance(fault, errors.RepositoryNotFoundError) or status in (401, 403)
        if isinstance(fault, errors.GatedRepoError) or (is_refused and aliases.get(name, {}).get("gated")):
            reason = (
                f"{hub_id} is gated: accept its licence at https://huggingface.co/{hub_id}, then log in with "
                "`hf auth login` (or set HF_TOKEN)"
            )
        elif is_refused:
            reason = (
                f"the hub shows no model {hub_id!r}{hint}; if it is private, log in with "
                "`hf auth login` (or set HF_TOKEN)"
            )
        else:
            offline = isinstance(fault.__cause__, errors.OfflineModeIsEnabled)
            cause = "HF_HUB_OFFLINE is set" if offline else first_line(fault)
            reason = f"{hub_id} is not on this machine and cannot be fetched from the Hugging Face hub ({cause}){hint}"
        shape, ours = _INSTEAD[kind]
        shape = name if name in aliases else shape
        raise BackboneError(f"{reason}\nWithout it: a local folder, random:{shape} (untrained), or {ours}") from fault
