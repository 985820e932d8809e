"""What an activation store's manifest must hold, and what tells two of them apart."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

from aitia.errors import AitiaError, StoreError
from aitia.files import LOCK, is_part
from aitia.records.losses import LossSettings

FORMAT = "aitia-store-v1"
_PLACES = {"name", "adapter", "source", "places", "parts", "adapter_places", "rows_sha256", "sha256"}
_UNBORN = {"shards", "rows.parquet", LOCK}


def require_free(folder: Path, made: str = "a store") -> None:
    """Refuse a folder that holds something else; what a start that was killed left there does not count.

    Raises:
        StoreError: it does.
    """
    if not folder.exists():
        return
    if folder.is_dir():
        others = [path for path in folder.iterdir() if path.name not in _UNBORN and not is_part(path)]
        shards = [path for path in (folder / "shards").glob("*") if not is_part(path)]
        if not others and not shards:
            return
    raise StoreError(f"{folder}: not empty and not {made}; give another place")


def require_form(manifest: Any, file: Path) -> None:
    """Refuse a manifest that lacks what every reader takes from it."""
    try:
        data, settings = manifest["data"], manifest["settings"]
        right = (
            isinstance(manifest.get("model", {}), dict)
            and all(_are_names(manifest.get(part, {}).get("places", [])) for part in ("model", "data"))
            and _are_names(manifest.get("model", {}).get("adapter_places", []))
            and all(_are_names(each) for each in data.get("parts", []))
            and _are_names([*data.get("reading", {}).values()])
            and isinstance(data["rows"], int)
            and isinstance(data.get("skipped", []), list)
            and all(isinstance(name, str) for name in (*settings["sites"], *settings["activations"]))
            and isinstance(manifest["shards"], int)
            and 0 <= manifest["shards"] <= data["rows"]
            and date.fromisoformat(data.get("today", "2000-01-01"))
            and LossSettings(**data.get("loss", {}))
        )
    except (KeyError, TypeError, AttributeError, ValueError, AitiaError):
        right = False
    if not right:
        raise StoreError(
            f"{file}: damaged manifest: a part is missing or of the wrong kind; delete the store and scan again"
        )


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """What differs between two manifests, as `key (old, now new)`; where things lie does not count."""
    found = []
    for key in sorted({*old, *new} - _PLACES):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            found += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append(f"{prefix}{key} ({_short(before)}, now {_short(after)})")
    return found


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:18] + "…" + text[-18:]
