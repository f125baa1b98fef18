"""Where a backbone's name leads: our own folder, a package, a local folder, or the Hugging Face hub and its cache."""

from pathlib import Path

from dept.errors import BackboneError
from dept.gguf import INSTALL, smollm2_folder
from dept.known_backbones import Source, known_backbone, registry, suggestion

EMBEDDED = Path(__file__).parent  # a backbone or image encoder that comes with us lies in <alias, with _ for ->/


def locate(name: str, patterns: list[str]) -> tuple[Path, Source]:
    """The local folder that holds the files of a backbone (or tokenizer) that match `patterns`.

    Raises:
        BackboneError: no such folder or hub id, gated, or the hub cannot be reached.
    """
    known = known_backbone(name) if name in registry() else None
    if known and known.source == "package":
        return smollm2_folder(), "package"
    if known and known.source == "embedded":
        return EMBEDDED / name.replace("-", "_"), "embedded"
    if known and known.hub_id:
        return _download(name, known.hub_id, patterns, known.gated), "hub"
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder, "folder"
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise BackboneError(f"there is no folder {folder}")
    return _download(name, name, patterns, False), "hub"


def _download(name: str, hub_id: str, patterns: list[str], known_gated: bool) -> Path:
    """Fetch the files that match, or find them in the hub's cache; pickles and code are never fetched."""
    from huggingface_hub import errors, snapshot_download

    try:
        # Files in subfolders are other forms of the same weights (onnx/, flax/).
        return Path(snapshot_download(hub_id, allow_patterns=patterns, ignore_patterns=["*/*"]))
    except errors.HFValidationError as fault:
        raise BackboneError(f"{name!r} is no alias, folder or hub id{suggestion(name)}") from fault
    except (errors.HTTPError, OSError) as fault:
        status = getattr(getattr(fault, "response", None), "status_code", None)
        is_refused = isinstance(fault, errors.RepositoryNotFoundError) or status in (401, 403)
        if isinstance(fault, errors.GatedRepoError) or (is_refused and known_gated):
            reason = (
                f"{hub_id} is gated: accept its licence at https://huggingface.co/{hub_id}, then log in with "
                "`hf auth login` (or set HF_TOKEN)"
            )
        elif is_refused:
            reason = (
                f"the hub shows no model {hub_id!r}{suggestion(name)}; if it is private, log in with "
                "`hf auth login` (or set HF_TOKEN)"
            )
        else:
            offline = isinstance(fault.__cause__, errors.OfflineModeIsEnabled)
            cause = "HF_HUB_OFFLINE is set" if offline else first_line(fault)
            reason = (
                f"{hub_id} is not on this machine and cannot be fetched from the Hugging Face hub "
                f"({cause}){suggestion(name)}"
            )
        shape = name if name in registry() else "t5-base"
        raise BackboneError(
            f"{reason}\nWithout it: a local folder, random:{shape} (untrained), or smollm2-135m ({INSTALL})"
        ) from fault


def first_line(fault: Exception) -> str:
    """The first line of a library's message, or the kind of fault when it has none."""
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    return lines[0] if lines else type(fault).__name__
