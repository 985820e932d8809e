"""Training examples: read, checked, cut into tokens with their responses marked, and batched."""

from aitia.records.arriving import ArrivingRows
from aitia.records.bad_rows import OnError, SkippedRow, shorten, some_of
from aitia.records.batching import (
    BATCH_TOKENS,
    Batch,
    RowShard,
    length_batches,
    pad_batch,
    row_shards,
)
from aitia.records.collection import Reading, Records, RowIds
from aitia.records.exporting import Export, write_records, write_weighted
from aitia.records.masking import tokenize
from aitia.records.parsing import ReadingSettings
from aitia.records.reading import read_records, records_from_rows
from aitia.records.record import Message, Record
from aitia.records.splitting import Split, split_records
from aitia.records.tokenized import TokenizedRecord, TokenizedRecords

__all__ = [
    "BATCH_TOKENS",
    "ArrivingRows",
    "Batch",
    "Export",
    "Message",
    "OnError",
    "Reading",
    "ReadingSettings",
    "Record",
    "Records",
    "RowIds",
    "RowShard",
    "SkippedRow",
    "Split",
    "TokenizedRecord",
    "TokenizedRecords",
    "length_batches",
    "pad_batch",
    "read_records",
    "records_from_rows",
    "row_shards",
    "shorten",
    "some_of",
    "split_records",
    "tokenize",
    "write_records",
    "write_weighted",
]
