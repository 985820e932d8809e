"""What cannot be replayed is refused with the reason, before the first step or at the step that shows it."""

import pytest
import torch

from aitia.errors import AitiaError, RecordError, StoreError
from aitia.records import records_from_rows
from aitia.training import RecordingCallback, read_run


@pytest.fixture
def attempt(make_trainer, rows, tmp_path):
    """attempt(data, used, **arguments of the trainer): record a run of four rows, which must not take a step."""

    def tried(data=None, used=None, begun=False, **arguments):
        used = rows[:4] if used is None else used
        callback = RecordingCallback(tmp_path / "run", data=records_from_rows(data or rows[:4]))
        trainer = make_trainer(used, callbacks=[callback], **arguments)
        try:
            trainer.train()
        finally:
            assert trainer.state.global_step == 0
            assert (tmp_path / "run" / "run.json").exists() == begun

    return tried


REFUSED = {
    "bf16=True: mixed precision": {"bf16": True},
    "label_smoothing_factor=0.1: the loss": {"kind": "trainer", "label_smoothing_factor": 0.1},
    "neftune_noise_alpha=5": {"neftune_noise_alpha": 5.0},
    "packing=True": {"packing": True, "max_length": 64},
    "loss_type='dft'": {"loss_type": "dft"},
    "auto_find_batch_size=True": {"auto_find_batch_size": True},
    "load_best_model_at_end=True": {
        "load_best_model_at_end": True,
        "eval_strategy": "no",
        "save_strategy": "no",
    },
    "torch_compile=True": {"torch_compile": True},
    "optimizer is transformers.optimization.Adafactor": {"optim": "adafactor"},
    "optimizer is torch.optim.adagrad.Adagrad": {"optim": "adagrad"},
}


@pytest.mark.parametrize("reason", REFUSED)
def test_arguments_are_refused_before_the_first_step(attempt, reason):
    with pytest.raises(AitiaError, match=reason):
        attempt(**REFUSED[reason])


ADAPTERS = {
    "drops out 0.1 of its inputs": {"lora_dropout": 0.1},
    "use_dora=True": {"use_dora": True},
    "lm_head.modules_to_save.default.weight is trained besides": {"modules_to_save": ["lm_head"]},
    "rank_pattern=": {"rank_pattern": {"q_proj": 4}},
    "init_lora_weights='pissa', which changes the base": {"init_lora_weights": "pissa"},
    "lora_alpha=3.5; give a whole number": {"lora_alpha": 3.5},
}


@pytest.mark.parametrize("reason", ADAPTERS)
def test_adapters_are_refused_before_the_first_step(attempt, reason):
    from peft import LoraConfig

    with pytest.raises(AitiaError, match=reason):
        attempt(lora=LoraConfig(r=2, target_modules=["q_proj"], **ADAPTERS[reason]))


def test_places_of_an_adapter_that_names_do_not_tell_are_kept_whole(make_trainer, make_model, rows, tmp_path):
    from peft import LoraConfig

    config = LoraConfig(r=2, target_modules=r"model\.layers\.1\..*q_proj", use_rslora=True)
    callback = RecordingCallback(tmp_path / "run", data=records_from_rows(rows[:4]))
    make_trainer(rows[:4], callbacks=[callback], lora=config).train()
    settings = read_run(tmp_path / "run").settings
    assert settings.target_modules == ("model.layers.1.self_attn.q_proj",)
    assert settings.use_rslora


def test_models_are_refused_before_the_first_step(attempt, make_model):
    with pytest.raises(AitiaError, match=r"transformer.drop drops out 0.1"):
        attempt(network=make_model("gpt2").network, lora=False)
    network = make_model("llama").network
    network.config._attn_implementation = "eager"
    for layer in network.model.layers:
        layer.self_attn.attention_dropout = 0.2
    with pytest.raises(AitiaError, match=r"self_attn drops out 0.2"):
        attempt(network=network)
    with pytest.raises(AitiaError, match=r"embed_tokens.weight is bfloat16"):
        attempt(network=make_model("llama").network.to(torch.bfloat16))

    from trl import SFTTrainer

    class Freezes(SFTTrainer):
        def create_optimizer(self, *given):
            self.model.model.embed_tokens.weight.requires_grad_(False)
            return super().create_optimizer(*given)

    with pytest.raises(AitiaError, match=r"embed_tokens.weight is frozen"):
        attempt(lora=False, make=Freezes)


def test_rows_that_do_not_match_are_named_before_the_first_step(attempt, rows):
    changed = [dict(row) for row in rows[:4]]
    changed[2]["completion"] += " And more."
    with pytest.raises(RecordError, match=r"row 2 of the train dataset .* nearest is rows row 2"):
        attempt(data=changed)
    with pytest.raises(
        RecordError, match=r"rows row 4: the data have row 'row-4' 1 time\(s\), the train dataset 0"
    ):
        attempt(data=rows[:5])
    with pytest.raises(RecordError, match=r"row 'row-1' 1 time\(s\), the train dataset 2 time"):
        attempt(used=[*rows[:4], rows[1]])


def test_streams_and_trainers_without_tokenizer_are_refused(attempt, make_trainer, rows, tmp_path):
    from datasets import Dataset
    from trl import SFTTrainer

    with pytest.raises(AitiaError, match="the train dataset is a stream"):
        attempt(used=Dataset.from_list(rows[:4]).to_iterable_dataset(), max_steps=2)

    class Bare(SFTTrainer):
        def train(self, *given, **more):
            self.callback_handler.processing_class = None
            return super().train(*given, **more)

    with pytest.raises(AitiaError, match="no tokenizer; give it as processing_class"):
        attempt(make=Bare)


def test_other_trainers_of_trl_are_refused():
    from trl import GRPOConfig, KTOConfig

    from aitia.training.trainer_checks import trainer_loss

    for kind in (GRPOConfig, KTOConfig):
        args = kind("nowhere", bf16=False, report_to=[], use_cpu=True)
        with pytest.raises(AitiaError, match=f"{kind.__name__} .*DPO .DPOTrainer. can be recorded"):
            trainer_loss(args)


def test_other_losses_show_at_the_first_step(attempt, make_trainer, rows, tmp_path):
    from transformers import Trainer

    class Larger(Trainer):
        def compute_loss(self, *given, **more):
            return 1.02 * super().compute_loss(*given, **more)

    with pytest.raises(AitiaError, match=r"at step 1 the trainer's gradient lies 2.00% off"):
        attempt(make=Larger, kind="trainer", max_grad_norm=0.0, begun=True)
    with pytest.raises(StoreError, match="stopped at step 0"):
        read_run(tmp_path / "run")
    callback = RecordingCallback(tmp_path / "run", data=records_from_rows(rows[:4]))
    make_trainer(rows[:4], callbacks=[callback]).train()
    assert read_run(tmp_path / "run").finished


def test_means_over_batches_show_at_the_first_step(attempt):
    from transformers import Trainer

    class OfBatches(Trainer):
        def get_batch_samples(self, *given):
            return super().get_batch_samples(*given)[0], None

    with pytest.raises(AitiaError, match=r"at step 1 the trainer's gradient lies .*% off"):
        attempt(
            make=OfBatches,
            kind="trainer",
            gradient_accumulation_steps=2,
            per_device_train_batch_size=1,
            begun=True,
        )


def test_collators_that_change_rows_show_at_the_step(attempt, make_trainer, rows, tmp_path):
    callback = RecordingCallback(tmp_path / "run", data=records_from_rows(rows[:4]))
    trainer = make_trainer(rows[:4], kind="trainer", callbacks=[callback])
    plain = trainer.data_collator

    def changing(items):
        batch = plain(items)
        if len(items) > 1:  # rows alone are those that are looked at before the first step
            batch["labels"][:, :3] = batch["input_ids"][:, :3]
        return batch

    trainer.data_collator = changing
    with pytest.raises(AitiaError, match="is not as the train dataset gave it before"):
        trainer.train()
    assert trainer.state.global_step == 0


def test_optimizers_that_are_not_what_they_seem_show_at_the_step(make_trainer, rows, tmp_path):
    callback = RecordingCallback(tmp_path / "run", data=records_from_rows(rows[:4]))
    trainer = make_trainer(rows[:4], callbacks=[callback])
    step = trainer.create_optimizer().step

    def larger(*given, **more):
        step(*given, **more)
        with torch.no_grad():
            for group in trainer.optimizer.param_groups:
                for value in group["params"]:
                    value.mul_(1.001)

    trainer.optimizer.step = larger
    with pytest.raises(AitiaError, match="at step 1 the optimizer leads to other parameters"):
        trainer.train()


@pytest.mark.parametrize(
    "reason, groups, more",
    [
        ("differ in lr", [{"lr": 1e-3}, {"lr": 1e-2}], {}),
        ("differ in betas", [{"betas": (0.8, 0.9)}, {}], {}),
        (r"weight decays \[0.1, 0.2\]", [{"weight_decay": 0.1}, {"weight_decay": 0.2}], {}),
        ("amsgrad=True", [{}, {}], {"amsgrad": True}),
        ("moves other parameters", [{}], {}),
    ],
)
def test_groups_of_an_optimizer_that_cannot_be_said(make_trainer, rows, tmp_path, reason, groups, more):
    callback = RecordingCallback(tmp_path / "run", data=records_from_rows(rows[:4]))
    trainer = make_trainer(rows[:4], callbacks=[callback])
    trained = [value for value in trainer.model.parameters() if value.requires_grad]
    parts = (trained[:2], trained[2:])
    given = [{"params": part} | group for part, group in zip(parts, groups, strict=False)]
    trainer.optimizer = torch.optim.AdamW(given, **more)
    with pytest.raises(AitiaError, match=reason):
        trainer.train()
    assert trainer.state.global_step == 0


def test_a_second_training_with_moments_of_the_first_is_refused(make_trainer, rows, tmp_path):
    data = records_from_rows(rows[:4])
    trainer = make_trainer(rows[:4])
    trainer.train()
    trainer.add_callback(RecordingCallback(tmp_path / "run", data=data))
    with pytest.raises(AitiaError, match="the optimizer took 4 steps where the trainer took 0"):
        trainer.train()
