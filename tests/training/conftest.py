"""Runs of other trainers, and what an onlooker who knows nothing of aitia sees of them."""

import pytest


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("WANDB_DISABLED", "true")


class Onlooker:
    """What the trained parameters are after each step, and which rows of the data set were read in between."""

    def __init__(self):
        import torch
        from transformers import TrainerCallback

        seen = self

        class Callback(TrainerCallback):
            def on_train_begin(self, args, state, control, model=None, **_):
                seen.read.clear()
                seen.parameters.append(values(model))

            def on_step_end(self, args, state, control, model=None, **_):
                seen.parameters.append(values(model))

        def values(model):
            return torch.cat([each.detach().flatten() for each in model.parameters() if each.requires_grad])

        self.parameters, self.read = [], []
        self.callback = Callback()


@pytest.fixture
def onlooker():
    return Onlooker()


def in_tokens_by_hand(rows, tokenizer):
    """Prompt, completion and end token; the completion and the end are predicted."""
    found = []
    for row in rows:
        whole = tokenizer(row["prompt"] + row["completion"])["input_ids"] + [tokenizer.eos_token_id]
        prompt = len(tokenizer(row["prompt"])["input_ids"])
        found.append({"input_ids": whole, "labels": [-100] * prompt + whole[prompt:]})
    return found


@pytest.fixture
def by_hand():
    return in_tokens_by_hand


@pytest.fixture
def make_trainer(make_model, tmp_path):
    """make_trainer(rows, kind, lora, callbacks, **arguments) -> a trainer that is about to train a tiny Llama."""

    def make(
        rows, *, kind="sft", lora=True, callbacks=(), onlooker=None, network=None, make=None, **arguments
    ):
        from datasets import Dataset
        from peft import LoraConfig, get_peft_model
        from torch.utils.data import Dataset as Plain
        from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments
        from trl import SFTConfig, SFTTrainer

        class Listed(Plain):
            def __init__(self, items):
                self.items = items

            def __len__(self):
                return len(self.items)

            def __getitem__(self, place):
                if onlooker is not None:
                    onlooker.read.append(place)
                return self.items[place]

        model = make_model("llama", layers=2)
        network = network or model.network
        network.requires_grad_(True)
        config = None
        if lora:
            config = LoraConfig(r=2, lora_alpha=8, target_modules=["q_proj", "down_proj"])
            config = lora if isinstance(lora, LoraConfig) else config
        usual = {
            "output_dir": str(tmp_path / "trainer"),
            "per_device_train_batch_size": 2,
            "num_train_epochs": 2,
            "learning_rate": 1e-2,
            "report_to": [],
            "save_strategy": "no",
            "logging_strategy": "no",
            "disable_tqdm": True,
            "use_cpu": True,
        }
        given = {"callbacks": list(callbacks), "processing_class": model.tokenizer}
        if kind == "sft":
            return (make or SFTTrainer)(
                model=network,
                args=SFTConfig(**usual | {"bf16": False} | arguments),
                train_dataset=rows if not isinstance(rows, list) else Dataset.from_list(rows),
                peft_config=config,
                **given,
            )
        if config is not None:
            network = get_peft_model(network, config)
        return (make or Trainer)(
            model=network,
            args=TrainingArguments(**usual | arguments),
            train_dataset=Listed(in_tokens_by_hand(rows, model.tokenizer)),
            data_collator=DataCollatorForSeq2Seq(model.tokenizer),
            **given,
        )

    return make


@pytest.fixture
def make_dpo(make_model, tmp_path):
    """make_dpo(rows, lora, callbacks, network, ref_model, make, **arguments) -> TRL's DPOTrainer of a tiny Llama."""

    def make(rows, *, lora=True, callbacks=(), network=None, ref_model=None, make=None, **arguments):
        import copy

        from datasets import Dataset
        from peft import LoraConfig
        from trl import DPOConfig, DPOTrainer

        model = make_model("llama", layers=2)
        network = network or model.network
        if ref_model is None and not lora and not arguments.get("precompute_ref_log_probs"):
            ref_model = copy.deepcopy(
                network
            )  # the tiny model lies nowhere, so that TRL cannot load it again
        network.requires_grad_(True)
        usual = {
            "output_dir": str(tmp_path / "trainer"),
            "per_device_train_batch_size": 2,
            "num_train_epochs": 2,
            "learning_rate": 1e-2,
            "beta": 0.3,
            "bf16": False,
            "report_to": [],
            "save_strategy": "no",
            "logging_strategy": "no",
            "disable_tqdm": True,
            "use_cpu": True,
        }
        columns = ("prompt", "chosen", "rejected")
        return (make or DPOTrainer)(
            model=network,
            ref_model=ref_model,
            args=DPOConfig(**usual | arguments),
            train_dataset=Dataset.from_list([{name: row[name] for name in columns} for row in rows]),
            processing_class=model.tokenizer,
            peft_config=LoraConfig(r=2, lora_alpha=8, target_modules=["q_proj", "down_proj"])
            if lora
            else None,
            callbacks=list(callbacks),
        )

    return make
