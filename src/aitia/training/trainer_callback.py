"""Recording a run of the transformers `Trainer`, or of TRL's, as `aitia.training.train` records its own.

The callback watches what the model is called with, so the rows of a step are those that it really ran over, whatever
samplers, collators and workers came before. At steps 1, 2, 4, 8, ... the gradient and the optimizer's step are
computed again and compared with the trainer's: a loss or an optimizer that replay does not know shows there at last.
The reference of DPO is the model before training, whose log-probabilities are computed once, or what a trainer that
computed them before (`precompute_ref_log_probs`) has in its batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from aitia.engine import warn
from aitia.errors import AitiaError, StoreError
from aitia.files import require_only
from aitia.models import in_tokens
from aitia.models.losses import known_references, with_references
from aitia.records import Records, TokenizedRecords, read_records
from aitia.records.losses import loss_of
from aitia.training.recording import PARTS, RUN, describe, open_run
from aitia.training.trainable import Trainable, as_language_model
from aitia.training.trainer import STATE_GIGABYTES
from aitia.training.trainer_checks import (
    require_equal_batches,
    require_exact,
    require_plain,
    settings_of,
    trained_parameters,
    trainer_loss,
)
from aitia.training.trainer_recorder import Recorder
from aitia.training.trainer_rows import mask_spans, match_rows, rows_of_loader


class RecordingCallback(TrainerCallback):
    """Records a run of the transformers `Trainer`, or of TRL's `SFTTrainer` or `DPOTrainer`, for replay.

    Give it to the trainer among its `callbacks`; `read_run` reads the folder afterwards. What cannot be replayed is
    refused with the reason: most of it before the first step, the rest at the step that shows it. A training that is
    stopped leaves a run that says so; with the trainer's `resume_from_checkpoint`, recording goes on.
    """

    def __init__(
        self,
        out: Path | str,
        *,
        data: Records | TokenizedRecords | Path | str,
        state_gigabytes: float = STATE_GIGABYTES,
    ):
        """Choose what is recorded, and where.

        Args:
            out: folder of the recorded run.
            data: the rows that are trained on, all of them and no others, or their file; a step's rows are known by
                what they say and get these ids.
            state_gigabytes: what the kept states may take on disk; those at the trainer's own checkpoints come on top.
        """
        self.out = Path(out)
        self.data = data if isinstance(data, Records | TokenizedRecords) else read_records(data)
        self.state_gigabytes = state_gigabytes
        self._recorder: Recorder | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002
        """Check all that can be seen before the first step, and write what is known of the run.

        Raises:
            AitiaError: the run could not be replayed; the reason is named.
            StoreError: the folder holds another run, or not the steps before those that are resumed.
        """
        if self._recorder is not None:
            self._recorder.close()
        self._recorder = None
        self._recorder = _begin(self, args, state, given)

    def on_step_begin(self, *_args: Any, **_given: Any) -> None:
        """Begin to watch what the model is called with."""
        self._running.open_step()

    def on_pre_optimizer_step(self, *_args: Any, **_given: Any) -> None:
        """Settle what the step is made of.

        Raises:
            AitiaError: a row is none of the data's, or the gradient is not that of the loss that replay knows.
        """
        self._running.settle_step()

    def on_step_end(self, *_args: Any, **_given: Any) -> None:
        """Keep the state, where it is one of those that are kept.

        Raises:
            AitiaError: the optimizer's step is not the one that replay knows.
        """
        self._running.end_step()

    def on_save(self, *_args: Any, **_given: Any) -> None:
        """Keep the state at a checkpoint, so that recording can go on from it."""
        self._running.keep()

    def on_train_end(self, *_args: Any, **_given: Any) -> None:
        """Keep the last state, and say so if the training ended early."""
        running = self._running
        running.keep()
        running.close()
        self._recorder = None
        if len(running.steps) < running.length:
            warn(
                f"Recording: the training ended at step {len(running.steps)} of {running.length}; {self.out} cannot be "
                "replayed before it is resumed (`resume_from_checkpoint`)"
            )

    @property
    def _running(self) -> Recorder:
        if self._recorder is None:
            raise AitiaError(
                "recording: the callback was added after the training began; give it to the trainer before"
            )
        return self._recorder


def _begin(callback: RecordingCallback, args: Any, state: Any, given: Mapping[str, Any]) -> Recorder:
    """Check a training that is about to begin, or to go on, and open its folder."""
    network, optimizer, tokenizer = given["model"], given["optimizer"], given["processing_class"]
    require_plain(args)
    loss = trainer_loss(args)
    require_exact(network)
    parameters = trained_parameters(network)
    if not hasattr(tokenizer, "apply_chat_template") or hasattr(tokenizer, "tokenizer"):
        raise AitiaError("recording: the trainer has no tokenizer; give it as processing_class")
    out, number, adapted = callback.out, int(state.global_step), hasattr(network, "peft_config")
    require_only(out, PARTS)
    known = open_run(out) if (out / RUN).is_file() else None
    if known is not None and number == 0 and any(known.kept):  # one without a step is begun again
        ended = "is recorded" if known.finished else f"was stopped at step {known.kept[-1]}"
        raise StoreError(
            f"{out}: a run {ended} there; resume it (`resume_from_checkpoint`), or give another folder"
        )
    if number and known is None:
        raise StoreError(
            f"{out}: the training goes on at step {number}, and the steps before it are not recorded there"
        )
    with as_language_model(network, tokenizer) as model:
        length, epochs = int(state.max_steps), int(state.num_train_epochs)
        settings = settings_of(args, epochs, length, network, parameters, optimizer, model.context_length)
        plain = in_tokens(
            model,
            callback.data,
            max_length=settings.max_length,
            truncate=settings.cuts,
            today=known.today if known else None,
            loss=loss,
        )
        data = match_rows(plain, list(rows_of_loader(given["train_dataloader"], loss)))
        if not loss_of(loss).per_token:
            require_equal_batches(args, len(data))
        data = known_references(data, known.references if known is not None and number else [])
        # Without an adapter to turn off, the model is its own reference as long as no step is taken.
        data = replace(data, records=with_references(model, data.records, loss, untrained=not adapted))
        masks = mask_spans(plain, data)
        source = getattr(callback.data, "source", None)
        said = describe(model, data, settings, (), str(source) if source else None, None, masks)
        if adapted:
            said["model"]["fingerprint"] = model.unadapted_fingerprint
        elif known is not None:  # its weights are trained already
            said["model"] = known.said["model"]
    trainable = Trainable(model=model, parameters=parameters)
    said |= {
        "length": length,
        "parameters": [[name, shape] for name, shape in trainable.shapes.items()],
        "trainer": _facts(args, optimizer),
    }
    recorder = Recorder(
        out=out,
        trainable=trainable,
        optimizer=optimizer,
        data=data,
        settings=settings,
        said=said,
        length=length,
    )
    recorder.start(number, callback.state_gigabytes)
    if masks:
        first = next(iter(masks))
        warn(
            f"Recording: the trainer predicts other tokens of {len(masks)} of {len(data)} rows than their responses "
            f"(first: row {first!r}); they are recorded, and replayed, as the trainer has them"
        )
    return recorder


def _facts(args: Any, optimizer: Any) -> dict[str, Any]:
    """What is worth knowing of another trainer besides our settings, for `run.json`."""
    import transformers

    kind, plain = type(args), getattr(optimizer, "optimizer", optimizer)
    found = {
        "arguments": f"{kind.__module__}.{kind.__name__}",
        "transformers": transformers.__version__,
        "optimizer": f"{type(plain).__module__}.{type(plain).__name__}",
        "lr_scheduler_type": str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)),
        "seed": args.seed,
        "data_seed": args.data_seed,
        "gradient_checkpointing": bool(args.gradient_checkpointing),
    }
    if kind.__module__.startswith("trl."):
        import trl

        found["trl"] = trl.__version__
    return found
