"""Folders that `datasets.Dataset.save_to_disk` wrote: Arrow files, in the order that a note beside them says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from unembed.corpus.names import shown
from unembed.errors import CorpusError

_STATE: Final = "state.json"
_INFO: Final = "dataset_info.json"
_SPLITS: Final = "dataset_dict.json"


def saved_dataset(folder: Path) -> list[Path] | None:
    """Its files; None for another folder. Raises CorpusError for one with splits, of which one has to be named."""
    where = shown(folder)
    if (folder / _SPLITS).is_file():
        splits = _read(folder / _SPLITS).get("splits")
        named = ", ".join(f"{where.rstrip('/')}/{split}" for split in splits) if isinstance(splits, list) else "none"
        raise CorpusError(f"{where} is a saved dataset with splits: name one of {named}")
    if not ((folder / _STATE).is_file() and (folder / _INFO).is_file()):
        return None
    state = _read(folder / _STATE)
    try:
        names = [str(each["filename"]) for each in state["_data_files"]]
    except (KeyError, TypeError):
        raise CorpusError(f"{where} is a saved dataset, but its {_STATE} names no files") from None
    if not names:
        raise CorpusError(f"{where} is a saved dataset with 0 rows")
    if state.get("_indices_data_files") or state.get("_indices_files"):
        raise CorpusError(
            f"{where} is a saved dataset with an index of its rows: call flatten_indices() before save_to_disk()"
        )
    if any(Path(name).name != name for name in names):
        raise CorpusError(f"{where} is a saved dataset whose {_STATE} names files outside it")
    return [folder / name for name in names]


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorpusError(f"{shown(path)} cannot be read: {error}") from error
    return value if isinstance(value, dict) else {}
