"""The frozen blocks below the lowest trained one, run once for each text.

Where training moves upper blocks only, what enters the lowest of them is the same at every step, checkpoint and target.
It is kept, text by text, and forward passes start there. In a causal model with pads on the right, an activation does
not depend on what follows, so that texts are known by their tokens alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from aitia.engine import note
from aitia.models import LanguageModel, run, trace
from aitia.records import TokenizedRecord, TokenizedRecords, length_batches, pad_batch
from aitia.training import Trainable

if TYPE_CHECKING:
    import torch

MEMORY_BYTES, DISK_BYTES = 10**9, 2 * 10**10
"""What is kept in memory at most; more lies on the disk, up to the second; beyond that, all blocks run every time."""
_BATCH_TOKENS = 2048
_TRIED = 2
_CANNOT_SKIP = (RuntimeError, LookupError, AttributeError, TypeError, ValueError)


def lowest_trained_block(trainable: Trainable) -> int:
    """The lowest block that training moves, from 0; 0 as well where it moves anything outside of the blocks."""
    inside = {id(value): number for number, value in _by_block(trainable.model)}
    return min(inside.get(id(value), 0) for value in trainable.parameters.values())


class LowerBlocks:
    """Forward passes of a model that start at its lowest trained block, for the texts that are kept.

    Other texts, and passes that watch something further down, run all blocks as ever. So does everything where the
    model hands more from block to block than the residual stream, which is found by trying two texts.

    Args:
        trainable: the model, with its trained parameters.
        texts: that will be run; those with the same tokens are kept once.
        memory_bytes: kept in memory up to here.
        disk_bytes: kept in a temporary file up to here; beyond, nothing is kept.
    """

    def __init__(
        self,
        trainable: Trainable,
        texts: Sequence[TokenizedRecords],
        *,
        memory_bytes: int = MEMORY_BYTES,
        disk_bytes: int = DISK_BYTES,
    ) -> None:
        self.model, self.lowest = trainable.model, lowest_trained_block(trainable)
        self._rows = _distinct(texts, self.model.pad_id)
        self._places: dict[bytes, slice] = {}
        self._kept: torch.Tensor | None = None
        self._hidden: torch.Tensor | None = None
        self._paused = False
        self._others: dict[int, Any] = {}  # block -> what it returns beside the residual stream
        self._memory, self._disk = memory_bytes, disk_bytes

    @property
    def bytes(self) -> int:
        """Of all that there is to keep."""
        tokens = sum(len(row.tokens) for row in self._rows.values())
        return tokens * self.model.width * self.model.network.dtype.itemsize if self.lowest else 0

    @contextmanager
    def kept(self) -> Iterator[LowerBlocks]:
        """Run the lower blocks once, and start above them while the block runs.

        Yields:
            This object.
        """
        if not 0 < self.bytes <= self._disk:
            yield self
            return
        with TemporaryDirectory(prefix="aitia-") as folder:
            self._fill(Path(folder) / "hidden" if self.bytes > self._memory else None)
            with self._skipping():
                if not self._serves():
                    self._places = {}
                    note("Replay: this model hands more from block to block than one stream; all of them run")
                yield self
            self._kept = self._hidden = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Run all blocks: where results are to have the bits of a training, which does so."""
        self._paused = True
        try:
            yield
        finally:
            self._paused = False

    def _fill(self, file: Path | None) -> None:
        import torch

        rows = list(self._rows.values())
        size, dtype = (sum(len(row.tokens) for row in rows), self.model.width), self.model.network.dtype
        if file is None:
            kept = torch.empty(size, dtype=dtype)
        else:
            kept = torch.from_file(str(file), shared=True, size=size[0] * size[1], dtype=dtype).view(size)
        ends = np.cumsum([len(row.tokens) for row in rows])
        places = [slice(int(end) - len(row.tokens), int(end)) for row, end in zip(rows, ends, strict=True)]
        site = f"resid_post.{self.lowest - 1}"
        # Always the same batches, so that a row has the same bits whatever it is run for.
        for index in length_batches([len(row.tokens) for row in rows], max_tokens=_BATCH_TOKENS):
            hidden = trace(self.model, pad_batch(rows, index, self.model.pad_id), [site])[site]
            for i, place in zip(index.tolist(), hidden, strict=True):
                kept[places[i]] = place[: len(rows[i].tokens)].to(kept.device)
        self._kept, self._places = kept, dict(zip(self._rows, places, strict=True))

    @contextmanager
    def _skipping(self) -> Iterator[None]:
        blocks = list(self.model.blocks[: self.lowest])
        before = [block.__dict__.get("forward") for block in blocks]
        handle = self.model.network.register_forward_pre_hook(self._begin, with_kwargs=True)
        for number, block in enumerate(blocks):
            block.forward = self._unless_kept(number, block.forward)
        try:
            yield
        finally:
            handle.remove()
            for block, own in zip(blocks, before, strict=True):
                if own is None:
                    del block.forward
                else:
                    block.forward = own

    def _begin(self, _network: Any, _args: Any, given: dict[str, Any]) -> None:
        tokens = given.get("input_ids")
        self._hidden = None if tokens is None or self._paused or self._watched() else self._looked_up(tokens)

    def _watched(self) -> bool:
        """Whether somebody listens below what is kept: to a block, or to a part of one."""
        blocks = self.model.blocks[: self.lowest]
        parts = [part for block in blocks for part in block.modules() if part is not blocks[-1]]
        return any(part._forward_hooks or part._forward_pre_hooks for part in parts)

    def _looked_up(self, tokens: torch.Tensor) -> torch.Tensor | None:
        """[b, t, d], zeros at pads; none where a row is not kept."""
        pad = self.model.pad_id
        places = [self._places.get(_key(row, pad)) for row in tokens.cpu().numpy()]
        if self._kept is None or not places or any(place is None for place in places):
            return None
        found = self._kept.new_zeros(*tokens.shape, self._kept.shape[1])
        for row, place in zip(found, places, strict=True):
            assert place is not None
            length = min(place.stop - place.start, len(row))
            row[:length] = self._kept[place.start : place.start + length]
        return found.to(tokens.device)

    def _unless_kept(self, number: int, forward: Callable[..., Any]) -> Callable[..., Any]:
        def replaced(*args: Any, **given: Any) -> Any:
            if self._hidden is None:
                output = forward(*args, **given)
                self._others[number] = output[1:] if isinstance(output, tuple) else None
                return output
            hidden = args[0] if args else given["hidden_states"]
            if number == self.lowest - 1:
                hidden = self._hidden.to(hidden.device)
            others = self._others[number]
            return hidden if others is None else (hidden, *others)

        return replaced

    def _serves(self) -> bool:
        """Whether a few texts come out as they do from all blocks."""
        rows = sorted(self._rows.values(), key=lambda row: len(row.tokens))[-_TRIED:]
        batch = pad_batch(rows, np.arange(len(rows)), self.model.pad_id)
        with self.paused():
            whole = run(self.model, batch).hidden
            # What blocks leave aside for others is then that of other tokens, and is missed.
            run(self.model, replace(batch, tokens=batch.tokens[:, ::-1].copy()))
        try:
            short = run(self.model, batch).hidden
        except _CANNOT_SKIP:
            return False
        far = 1e-3 if whole.dtype.itemsize >= 4 else 5e-2
        return bool(((short - whole).abs() <= far * whole.abs().max()).all()) if len(whole) else True


def _by_block(model: LanguageModel) -> Iterator[tuple[int, Any]]:
    """Each parameter of the blocks with its block, the highest first, so that a shared one counts as the lowest's."""
    for number in reversed(range(model.layers)):
        for value in model.blocks[number].parameters():
            yield number, value


def _distinct(texts: Sequence[TokenizedRecords], pad: int) -> dict[bytes, TokenizedRecord]:
    """Texts by their tokens, without the pads at their ends; of several that differ in these, the longest."""
    found: dict[bytes, TokenizedRecord] = {}
    for row in (row for each in texts for row in each):
        key = _key(row.tokens, pad)
        if key not in found or len(row.tokens) > len(found[key].tokens):
            found[key] = row
    return found


def _key(tokens: np.ndarray, pad: int) -> bytes:
    real = np.flatnonzero(np.asarray(tokens) != pad)
    return np.asarray(tokens[: real[-1] + 1 if len(real) else 0], dtype=np.int64).tobytes()
