"""The activation store: what one scan over the training data leaves behind, for any later concept.

    store/
      manifest.json               what it was made of: model, tokenizer, data, settings, number of shards
      rows.parquet                id, content, row, location, prompt_tokens, response_tokens of each row, in data order
      shards/00000.safetensors    position [m] and the activations [m, d] of m rows, written whole or not at all

A shard exists if and only if it is complete, so a scan that was killed goes on where it stopped. Manifest, table
and shards carry checksums: what a faulty disk has changed is refused, not ranked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aitia.attribution.scanning.activations import ACTIVATIONS, activation_key, with_ends
from aitia.attribution.scanning.manifest import FORMAT, differences, require_form, require_free
from aitia.attribution.scanning.places import find_model, find_records, require_scanned_model
from aitia.attribution.scanning.side_activations import side_activation
from aitia.errors import StoreError, reason_of
from aitia.files import (
    LOCK,
    atomic_path,
    digest,
    file_digest,
    only_here,
    read_json,
    reading,
    remove_parts,
    write_json,
)
from aitia.notebook import html_block
from aitia.records import tokenize
from aitia.records.losses import LossSettings, loss_of
from aitia.tensor_files import open_tensors, save_tensors

if TYPE_CHECKING:
    import pyarrow as pa

    from aitia.models import LanguageModel
    from aitia.records import Records, TokenizedRecords


class ActivationStore:
    """A folder of activations, read one shard at a time.

    Attributes:
        path: the folder.
        manifest: what the store was made of, as in `manifest.json`.
        model: the model it was scanned with, where that was in this process.
        records: the training data, where it was read in this process.
    """

    def __init__(self, path: Path | str, manifest: dict[str, Any]):
        self.path = Path(path)
        self.manifest = manifest
        self.model: LanguageModel | None = None
        self.records: Records | None = None
        self.tokenized: TokenizedRecords | None = None

    @classmethod
    def open(cls, path: Path | str) -> ActivationStore:
        """Open a complete store.

        Returns:
            The store, every shard of which is there.

        Raises:
            StoreError: there is none, it is damaged, or its scan has not finished.
        """
        store = cls.open_unfinished(path)
        missing = [number for number in range(store.shards) if not store.shard_path(number).is_file()]
        if missing:
            raise StoreError(
                f"{path}: {len(missing)} of {store.shards} shards are missing; "
                "run the same `aitia scan` again to finish it"
            )
        return store

    @classmethod
    def open_unfinished(cls, path: Path | str) -> ActivationStore:
        """Open a store whose scan may still be going on.

        Returns:
            The store; shards may be missing.

        Raises:
            StoreError: there is none, or its manifest cannot be read.
        """
        file = Path(path) / "manifest.json"
        try:
            manifest = read_json(file)
        except FileNotFoundError:
            raise StoreError(f"{path}: no store there; make one with `aitia scan`") from None
        except ValueError as error:
            raise StoreError(
                f"{file}: damaged manifest: {reason_of(error)}; delete the store and scan again"
            ) from error
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise StoreError(f"{file}: not a store of format {FORMAT}")
        if manifest.pop("sha256", None) != digest(manifest) and "rows_sha256" in manifest:
            raise StoreError(
                f"{file}: damaged manifest: not as it was written; delete the store and scan again"
            )
        require_form(manifest, file)
        return cls(path, manifest)

    @classmethod
    def create_or_resume(cls, path: Path | str, manifest: dict[str, Any], rows: pa.Table) -> ActivationStore:
        """Start a store, or go on with one that was made of exactly the same parts.

        Returns:
            The store, with the shards that are there already.

        Raises:
            StoreError: another store is there; the message names what differs.
        """
        import pyarrow.parquet as parquet

        folder = Path(path)
        manifest = {"format": FORMAT, **manifest}
        if (folder / "manifest.json").exists():
            store = cls.open_unfinished(folder)
            found = differences(store.manifest, manifest)
            if found:
                raise StoreError(
                    f"{folder}: this store was made with other parts: {'; '.join(found)}. "
                    "Give another place, or delete the folder"
                )
            return store
        require_free(folder)
        (folder / "shards").mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / "rows.parquet") as temporary:
            parquet.write_table(rows, temporary)
        manifest["rows_sha256"] = file_digest(folder / "rows.parquet")
        manifest = json.loads(json.dumps(manifest))
        write_json(folder / "manifest.json", manifest | {"sha256": digest(manifest)})
        return cls(folder, manifest)

    @staticmethod
    def only_here(path: Path | str) -> AbstractContextManager[None]:
        """Keep other processes from scanning into the same folder while the block runs.

        Returns:
            A context manager that holds the folder's lock.

        Raises:
            StoreError: another process does.
        """
        return only_here(Path(path) / LOCK)

    def remove_parts(self) -> None:
        """Remove what a scan that was killed left half-written; the caller holds the lock."""
        remove_parts(self.path)
        remove_parts(self.path / "shards")

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites scanned, bottom first."""
        return tuple(self.manifest["settings"]["sites"])

    @property
    def activations(self) -> tuple[str, ...]:
        """The activations kept at each site; where the loss compares answers, the part of each too."""
        parts = (side_activation(name) for name in self.sides)
        return (*with_ends(self.manifest["settings"]["activations"]), *parts)

    @property
    def loss(self) -> LossSettings:
        """What training does with the rows."""
        return LossSettings(**self.manifest["data"].get("loss", {}))

    @property
    def sides(self) -> tuple[str, ...]:
        """Names of the answers that the rows' loss compares; () where it compares none."""
        names = loss_of(self.loss).sides
        return names if len(names) > 1 else ()

    @property
    def today(self) -> date | None:
        """The date that the chat template wrote into the rows; None where it writes none."""
        written = self.manifest["data"].get("today")
        return None if written is None else date.fromisoformat(written)

    @property
    def shards(self) -> int:
        """The number of shards of the finished store."""
        return int(self.manifest["shards"])

    @cached_property
    def rows(self) -> pa.Table:
        """id, content (its digest), row, location, prompt_tokens and response_tokens of each row, in data order."""
        import pyarrow as pa
        import pyarrow.parquet as parquet

        file = self.path / "rows.parquet"
        try:
            written = self.manifest.get("rows_sha256")
            with reading(file):
                if written is not None and file_digest(file) != written:
                    raise ValueError("it is not as it was written")
                table = parquet.read_table(file)
        except FileNotFoundError:
            raise StoreError(f"{file}: missing; delete the store and scan again") from None
        except (OSError, ValueError, pa.ArrowException) as error:
            raise StoreError(
                f"{file}: damaged ({reason_of(error)}); delete the store and scan again"
            ) from error
        if table.num_rows != self.manifest["data"]["rows"]:
            raise StoreError(
                f"{self.path / 'rows.parquet'}: {table.num_rows} rows, but the manifest says otherwise"
            )
        return table

    def __repr__(self) -> str:
        return f"ActivationStore({len(self)} rows at {', '.join(self.sites)}, in {self.path})"

    def _repr_html_(self) -> str:
        model, data = self.manifest.get("model", {}), self.manifest["data"]
        facts = {"folder": self.path, "sites": ", ".join(self.sites), "model": model.get("name")}
        facts |= {"adapter": model.get("adapter"), "data": data.get("source") or "memory"}
        facts |= {"activations": ", ".join(self.activations), "left out": len(data["skipped"]) or None}
        return html_block(f"Activations of {len(self):,} rows", facts)

    def __len__(self) -> int:
        return int(self.manifest["data"]["rows"])

    def column(self, name: str) -> np.ndarray:
        """A column of `rows`, [n]."""
        return self.rows[name].to_numpy()

    def shard_path(self, number: int) -> Path:
        """The file of a shard."""
        return self.path / "shards" / f"{number:05d}.safetensors"

    def write_shard(self, number: int, arrays: dict[str, np.ndarray]) -> None:
        """Write a shard, whole or not at all."""
        save_tensors(self.shard_path(number), arrays)

    def read_shard(self, number: int, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Read some arrays of a shard, `position` [m] always among them.

        Returns:
            Name -> array [m, ...], and the positions of its rows.

        Raises:
            StoreError: the shard is missing, damaged, or lacks one of the names.
        """  # noqa: DOC501 - a ValueError is caught below
        path = self.shard_path(number)
        try:
            with open_tensors(path) as file:
                if not file.checked and "rows_sha256" in self.manifest:
                    raise ValueError("its checksums are gone")
                return {name: file[name] for name in ["position", *names]}
        except FileNotFoundError:
            raise StoreError(
                f"{path}: missing; run the same `aitia scan` again to finish the store"
            ) from None
        except ValueError as error:
            raise StoreError(
                f"{path}: damaged ({error}); delete it and run the same `aitia scan` again"
            ) from error

    def give(
        self,
        *,
        model: LanguageModel | Path | str | None = None,
        adapter: Path | str | None = None,
        data: Records | Path | str | None = None,
    ) -> None:
        """Say where model and data are now, where the store does not find them itself.

        Args:
            model: the model that was scanned, or its folder.
            adapter: the folder of its adapter.
            data: the rows that were scanned, or their file.

        Raises:
            StoreError: they are not those that were scanned.
        """
        if (model is None and adapter is not None) or isinstance(model, (str, Path)):
            self.model = find_model(self.manifest["model"], self.path, model, adapter)
        elif model is not None:
            require_scanned_model(model, self.manifest["model"], self.path)
            self.model = model
        if data is not None:
            self.records = find_records(self.manifest["data"], self.path, data)

    def load_model(self) -> LanguageModel:
        """The model that the store was scanned with, loaded again where it is not at hand.

        It is looked for where it lay as seen from the store, and where it lay then.

        Returns:
            The model, with the weights and the adapter that were scanned.

        Raises:
            StoreError: it is not there any more, or what lies there is another model.
            ModelError: it cannot be loaded.
        """
        if self.model is None:
            self.model = find_model(self.manifest["model"], self.path)
        return self.model

    def load_records(self) -> Records:
        """The training data that was scanned, read again where it is not at hand.

        Returns:
            The records of the rows in the store and of those that were left out.

        Raises:
            StoreError: the data were in memory only, are not found, or have changed since.
        """
        if self.records is None:
            self.records = find_records(self.manifest["data"], self.path)
        return self.records

    def load_rows(self) -> TokenizedRecords:
        """The rows in tokens, cut as for the scan, in data order.

        Returns:
            n rows in tokens, in the order of the store.

        Raises:
            StoreError: model or data are not those that were scanned any more, or give other tokens.
        """
        if self.tokenized is None:
            model, settings = self.load_model(), self.manifest["settings"]
            rows = tokenize(
                self.load_records(),
                model.tokenizer,
                max_length=settings["max_length"] or model.context_length,
                truncate=settings["truncate"],
                on_error="skip" if self.manifest["data"]["skipped"] else "stop",
                today=self.today,
                loss=self.loss,
            )
            if rows.fingerprint != self.manifest["data"].get("tokens", rows.fingerprint):
                raise StoreError(
                    f"{self.path}: the rows give other tokens now than when they were scanned (another chat template, "
                    "or another version of transformers); scan again"
                )
            self.tokenized = rows
        return self.tokenized

    def blocks(
        self, activations: Sequence[str], site: str
    ) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """Go through the store a shard at a time.

        Yields:
            positions [m] in data order, and activation -> [m, d].

        Raises:
            StoreError: the store lacks an activation or the site.
        """
        self.require(activations, site)
        keys = {activation: activation_key(activation, site) for activation in activations}
        seen = np.zeros(len(self), dtype=bool)
        for number in range(self.shards):
            arrays = self.read_shard(number, list(keys.values()))
            position = arrays["position"]
            if position.min(initial=0) < 0 or position.max(initial=0) >= len(self) or seen[position].any():
                raise StoreError(
                    f"{self.shard_path(number)}: holds rows that are not its own; delete it and scan again"
                )
            seen[position] = True
            yield position, {activation: arrays[key] for activation, key in keys.items()}
        if not seen.all():
            raise StoreError(
                f"{self.path}: {int((~seen).sum())} rows are in no shard; delete it and scan again"
            )

    def require(self, activations: Sequence[str], site: str) -> None:
        """Refuse a site or activation that was not scanned.

        Raises:
            StoreError: with what the store holds, and how to get the rest.
        """
        if site not in self.sites:
            raise StoreError(
                f"{self.path}: site {site} was not scanned; the store holds {', '.join(self.sites)}. "
                f"Scan again: `aitia scan --site {site}`"
            )
        missing = [activation for activation in activations if activation not in self.activations]
        if missing:
            raise StoreError(
                f"{self.path}: activation {', '.join(missing)} was not scanned; the store holds "
                f"{', '.join(self.activations)}. Scan again: `aitia scan "
                f"{' '.join(f'--activation {name}' for name in ACTIVATIONS if name in (*self.activations, *missing))}`"
            )
