"""The scan: one pass over the training data that leaves an activation store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from aitia.attribution.scanning.activations import (
    ACTIVATIONS,
    DEFAULT_ACTIVATIONS,
    FORWARD_ACTIVATIONS,
    Activation,
    collect_activations,
    on_policy_response_activation,
)
from aitia.attribution.scanning.manifest import require_free
from aitia.attribution.scanning.places import places_of
from aitia.attribution.scanning.side_activations import collect_row_activations, run_length
from aitia.attribution.scanning.store import ActivationStore
from aitia.engine import LOCAL, Advance, Engine, progress_bar, run_tasks
from aitia.errors import AitiaError, RecordError, StoreError
from aitia.models import LanguageModel, generate_responses, in_tokens, sort_sites
from aitia.models.losses import with_references
from aitia.records import (
    BATCH_TOKENS,
    Records,
    RowShard,
    TokenizedRecord,
    TokenizedRecords,
    length_batches,
    pad_batch,
    read_records,
    row_shards,
)
from aitia.records.losses import PLAIN, LossSettings
from aitia.settings import AtLeast, Count, CountOrAll, Seed, check

_SAMPLES_APART = 50_000_017
"""How far apart the seeds of a shard's first and second responses are: more than there are shards."""


@dataclass(frozen=True, kw_only=True)
class ScanSettings:
    """Settings of a scan; saved in the store's manifest.

    Attributes:
        sites: site where activations are taken, as resid_post.19.
        activations: activation kept of each row. response and prompt_end always are; the default method reads backward.
        max_length: longest row in tokens; 0 for the model's context.
        truncate: cut longer rows instead of refusing them, as training with a maximum length does.
        max_batch_tokens: tokens run at once, padding included.
        shard_rows: rows of a shard, at least; a scan that is killed loses one shard.
        on_policy_response_tokens: longest sampled response in tokens, for the activation on_policy_response.
        on_policy_responses: responses sampled to each prompt; the activation on_policy_response is their mean.
        temperature: temperature of that sampling.
        seed: seed of that sampling.
    """

    sites: tuple[str, ...]
    activations: tuple[Activation, ...] = DEFAULT_ACTIVATIONS
    max_length: CountOrAll = 0
    truncate: bool = False
    max_batch_tokens: Count = BATCH_TOKENS
    shard_rows: Count = 256
    on_policy_response_tokens: Count = 64
    on_policy_responses: Count = 1
    temperature: Annotated[float, AtLeast(0)] = 1.0
    seed: Seed = 0

    def __post_init__(self) -> None:
        check(self)
        if self.on_policy_responses > 1 and self.temperature == 0:
            raise AitiaError(
                f"on_policy_responses {self.on_policy_responses}: at temperature 0 all responses to a prompt are the "
                "same; give a temperature above 0, or one response"
            )
        object.__setattr__(self, "sites", tuple(self.sites))
        wanted = {*FORWARD_ACTIVATIONS, *self.activations}
        object.__setattr__(self, "activations", tuple(name for name in ACTIVATIONS if name in wanted))


def scan(
    model: LanguageModel,
    data: Any,
    settings: ScanSettings | None = None,
    *,
    out: Path | str,
    on_error: str = "stop",
    engine: Engine = LOCAL,
    today: date | None = None,
    loss: LossSettings = PLAIN,
    **fields: Any,
) -> ActivationStore:
    """Run the model over the training data once and keep a small vector per row, activation and site.

    Rows are batched by length, and batches grouped into shards by a rule that depends on the data and the
    settings alone. A scan that was stopped, at any moment and in any way, goes on at the first missing
    shard when run again, and gives the same bits as one that ran through.

    Args:
        model: the model, as a rule the fine-tuned one.
        data: the training data: records, or whatever `read_records` takes.
        settings: where and how to scan. Of the activations, `response` and `prompt_end`, which are always kept, cost a
            forward pass up to the highest site; `backward` (by default) a whole forward and a backward pass down to the
            lowest; `on_policy_response` sampling.
        out: the store's folder.
        on_error: `stop` before any work at a row that cannot be used, or `skip` it.
        engine: where the shards are made. Workers load the model by its name and write into `out`
            themselves, so both must be in the same place for all of them.
        today: the date for a chat template that writes one; default: that of the store that is gone on with,
            or else the day of this run.
        loss: what training does with a row: the `backward` activation is the gradient of that loss. Default: the
            cross-entropy of the response, without weights.
        fields: fields of `ScanSettings`, in the place of `settings` or of its fields: `sites=["resid_post.19"]`.

    Returns:
        The finished store.

    Raises:
        RecordError: rows that cannot be used; file and line are named.
        StoreError: `out` holds a store of other parts.
        NumericalError: an activation is not finite; the row is named.
    """
    chosen = ScanSettings(**fields) if settings is None else replace(settings, **fields)
    chosen = replace(chosen, sites=sort_sites(chosen.sites, model.layers))
    records = data if isinstance(data, Records) else read_records(data, on_error=on_error)  # type: ignore[arg-type]
    begun = ActivationStore.open_unfinished(out) if (Path(out) / "manifest.json").exists() else None
    tokenized = in_tokens(
        model,
        records,
        max_length=chosen.max_length,
        truncate=chosen.truncate,
        on_error=on_error,
        today=today or (None if begun is None else begun.today),
        loss=loss,
    )
    if not len(tokenized):
        raise RecordError(f"{records.name}: no row that can be used")
    if not loss.plain:
        _require_gradients(model, chosen, loss)
    if "on_policy_response" in chosen.activations:
        _require_prompts(tokenized)
    if begun is None:
        _require_free_or_begun(Path(out))
    shards = _plan_shards(tokenized, chosen)
    manifest = _manifest(model, records, tokenized, chosen, len(shards), Path(out))
    if begun is not None:
        manifest["settings"] = _as_begun(manifest["settings"], begun)
    with ActivationStore.only_here(out):
        store = ActivationStore.create_or_resume(out, manifest, _rows_table(tokenized, records))
        store.remove_parts()
        store.model, store.records, store.tokenized = model, records, tokenized
        todo = [number for number in range(len(shards)) if not store.shard_path(number).is_file()]
        done = len(tokenized) - sum(len(batch) for number in todo for batch in shards[number])
        work = partial(_scan_shard, model, chosen, store.path, store.manifest, loss)
        with progress_bar("Scanning", len(tokenized), done=done) as advance:
            for _ in run_tasks(work, row_shards(tokenized, shards, todo), engine=engine, advance=advance):
                pass
    return store


def _require_free_or_begun(out: Path) -> None:
    """Refuse a folder that holds something else; the lock settles what another process began meanwhile."""
    try:
        require_free(out)
    except StoreError:
        if not (out / "manifest.json").exists():
            raise


def _scan_shard(
    model: LanguageModel,
    settings: ScanSettings,
    store: Path,
    manifest: dict[str, Any],
    loss: LossSettings,
    shard: RowShard,
    advance: Advance,
) -> None:
    """Make a shard and write it."""
    parts = []
    filled = with_references(model, shard.rows, loss, max_batch_tokens=settings.max_batch_tokens)
    shard = replace(shard, rows=filled)
    for _, positions, rows in shard.parts():
        parts.append(
            _scan_batch(model, rows, settings, loss) | {"position": np.asarray(positions, dtype=np.int64)}
        )
        advance(len(rows))
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if "on_policy_response" in settings.activations:
        arrays |= _on_policy_responses(model, shard.rows, settings, shard.number)
    ActivationStore(store, manifest).write_shard(shard.number, arrays)


def _scan_batch(
    model: LanguageModel, rows: Sequence[TokenizedRecord], settings: ScanSettings, loss: LossSettings
) -> dict[str, np.ndarray]:
    if not loss.plain:
        return collect_row_activations(model, rows, settings.sites, loss)
    batch = pad_batch(rows, np.arange(len(rows)), model.pad_id)
    locations = [row.location for row in rows]
    return collect_activations(
        model, batch, settings.sites, locations, backward="backward" in settings.activations
    )


def _on_policy_responses(
    model: LanguageModel, rows: Sequence[TokenizedRecord], settings: ScanSettings, shard: int
) -> dict[str, np.ndarray]:
    """Sample the model's own responses to the shard's prompts, and take their mean activation; keep the tokens too.

    Of several responses, all rows' first ones come first in `own_tokens` and `own_lengths`, then all second ones.

    Returns:
        `on_policy_response.site` -> [m, d] float32, `own_tokens`, and `own_lengths` [responses * m].
    """
    prompts = [last_prompt(row) for row in rows]
    responses: list[np.ndarray] = []
    arrays: dict[str, np.ndarray] = {}
    for sample in range(settings.on_policy_responses):
        sampled = generate_responses(
            model,
            prompts,
            max_new_tokens=settings.on_policy_response_tokens,
            temperature=settings.temperature,
            seed=settings.seed * 100_003 + shard + sample * _SAMPLES_APART,
        )
        responses += sampled
        for name, values in _response_activations(model, rows, prompts, sampled, settings).items():
            arrays[name] = values if name not in arrays else arrays[name] + values
    arrays = {name: values / np.float32(settings.on_policy_responses) for name, values in arrays.items()}
    arrays["own_tokens"] = np.concatenate(responses).astype(np.int32)
    arrays["own_lengths"] = np.array([len(response) for response in responses], dtype=np.int32)
    return arrays


def _response_activations(
    model: LanguageModel,
    rows: Sequence[TokenizedRecord],
    prompts: Sequence[np.ndarray],
    responses: Sequence[np.ndarray],
    settings: ScanSettings,
) -> dict[str, np.ndarray]:
    """The mean activation over one response to each prompt: `on_policy_response.site` -> [m, d]."""
    answered = [
        TokenizedRecord(
            id=row.id,
            row=row.row,
            location=row.location,
            tokens=np.concatenate([prompt, response]).astype(np.int32),
            response=np.arange(len(prompt) + len(response)) >= len(prompt),
        )
        for row, prompt, response in zip(rows, prompts, responses, strict=True)
    ]
    arrays: dict[str, np.ndarray] = {}
    for index in length_batches([len(row.tokens) for row in answered], max_tokens=settings.max_batch_tokens):
        batch = pad_batch(answered, index, model.pad_id)
        activation = on_policy_response_activation(
            model, batch, settings.sites, [answered[i].location for i in index]
        )
        for name, values in activation.items():
            arrays.setdefault(name, np.empty((len(rows), model.width), dtype=np.float32))[index] = values
    return arrays


def last_prompt(row: TokenizedRecord) -> np.ndarray:
    """The tokens before the last response of a row: what the model would answer to."""
    starts = np.flatnonzero(row.response & ~np.concatenate([[False], row.response[:-1]]))
    return row.tokens[: starts[-1]]


def _require_gradients(model: LanguageModel, settings: ScanSettings, loss: LossSettings) -> None:
    """Refuse a scan that would not see what the loss does, or a model without the loss's reference, before any work."""
    if "backward" not in settings.activations:
        raise RecordError(
            f"`loss={loss.loss}` changes a row's gradient, which is the activation backward: scan it too"
        )
    if "on_policy_response" in settings.activations:
        raise RecordError(
            f"the activation on_policy_response is compared with a row's response, and knows nothing of "
            f"`loss={loss.loss}`; leave it out"
        )
    with_references(model, (), loss)


def _require_prompts(tokenized: TokenizedRecords) -> None:
    for row in tokenized:
        if len(last_prompt(row)) == 0:
            raise RecordError(
                f"{row.location}: no prompt to answer, so the model's own response cannot be sampled; "
                "leave out the activation on_policy_response (method projection-difference)"
            )


def _plan_shards(tokenized: TokenizedRecords, settings: ScanSettings) -> list[list[np.ndarray]]:
    """Batches by length, grouped in order into shards of at least `shard_rows` rows."""
    shards: list[list[np.ndarray]] = [[]]
    batches = length_batches([run_length(row) for row in tokenized], max_tokens=settings.max_batch_tokens)
    for batch in batches:
        if sum(len(part) for part in shards[-1]) >= settings.shard_rows:
            shards.append([])
        shards[-1].append(batch)
    return shards


def _manifest(
    model: LanguageModel,
    records: Records,
    tokenized: TokenizedRecords,
    settings: ScanSettings,
    shards: int,
    folder: Path,
) -> dict[str, Any]:
    skipped, several = [*records.skipped, *tokenized.skipped], len(records.sources) > 1
    saved = asdict(settings) | {"sites": list(settings.sites), "activations": list(settings.activations)}
    return {
        "model": {
            "name": model.name,
            "adapter": model.adapter,
            "places": places_of(model.name, folder),
            "adapter_places": places_of(model.adapter, folder),
            "fingerprint": model.fingerprint,
            "base_fingerprint": model.base_fingerprint,
            "tokenizer_fingerprint": model.tokenizer_fingerprint,
            "dtype": model.dtype,
        },
        "data": {
            "source": ", ".join(map(str, records.sources)) or None,
            "places": places_of(records.source, folder),
            **({"parts": [places_of(each, folder) for each in records.sources]} if several else {}),
            **({"reading": dict(records.reading.settings)} if records.reading.settings else {}),
            "fingerprint": records.fingerprint,
            "rows": len(tokenized),
            # What the model reads: the chat template's text may depend on the day and on its library.
            "tokens": tokenized.fingerprint,
            **({} if tokenized.loss.plain else _said_of_loss(tokenized)),
            **({} if tokenized.today is None else {"today": tokenized.today.isoformat()}),
            "skipped": [[row.location, row.reason] for row in skipped],
        },
        "settings": saved,
        "shards": shards,
    }


def _said_of_loss(tokenized: TokenizedRecords) -> dict[str, Any]:
    """The loss, and the digest of the rows' answers, which a curvature is fitted to."""
    return {"loss": tokenized.loss.said, "answers": tokenized.answers.fingerprint}


def _as_begun(settings: dict[str, Any], begun: ActivationStore) -> dict[str, Any]:
    """The settings without those that the store's aitia did not have yet, where these are as they were then."""
    standing = {each.name: each.default for each in fields(ScanSettings)}
    there = begun.manifest["settings"]
    return {name: value for name, value in settings.items() if name in there or value != standing[name]}


def _rows_table(tokenized: TokenizedRecords, records: Records) -> Any:
    import pyarrow as pa

    scanned = np.isin(np.asarray(records.rows), [row.row for row in tokenized])
    return pa.table(
        {
            "id": [row.id for row in tokenized],
            "content": pa.array(records.digests[scanned], pa.binary()).cast(pa.string()),
            "row": pa.array([row.row for row in tokenized], pa.int64()),
            "location": [row.location for row in tokenized],
            "prompt_tokens": pa.array([int((~row.response).sum()) for row in tokenized], pa.int32()),
            "response_tokens": pa.array(
                [sum(int(side.response.sum()) for side in row.sides) for row in tokenized], pa.int32()
            ),
        }
    )
