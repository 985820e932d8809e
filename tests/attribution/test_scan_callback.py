"""Concepts measured by the side of real trainings: the figures are right and logged, and no bit of the run changes."""

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

from aitia.attribution import ScanCallback, rank, read_ranking, scan
from aitia.concepts import Concept
from aitia.errors import AitiaError, ConceptError, StoreError
from aitia.models import LanguageModel, trace
from aitia.records import pad_batch, records_from_rows, tokenize
from aitia.training import as_language_model

SITE = "resid_post.0"
HELD_OUT = [{"prompt": f"Held {i}? ", "completion": f"The sun is {i}."} for i in range(3)]


@pytest.fixture(autouse=True)
def no_wandb(monkeypatch):
    monkeypatch.setenv("WANDB_DISABLED", "true")


@pytest.fixture
def base(make_model):
    return lambda: make_model("llama", layers=2)


def concept_of(model, name="sunny", seed=0, **changed):
    direction = np.random.default_rng(seed).normal(size=(1, model.width)).astype(np.float32)
    parts = {"name": name, "site": SITE, "direction": direction, "recipe": {}, "model_name": model.name}
    parts |= {"model_fingerprint": model.fingerprint, "base_fingerprint": model.base_fingerprint}
    return Concept(**parts | changed)


@pytest.fixture
def make_trainer(base, rows, tmp_path):
    """make_trainer(kind, lora) -> a trainer with two epochs before it."""

    def make(kind="sft", lora=True, **arguments):
        import trl
        from datasets import Dataset
        from peft import LoraConfig

        model = base()
        model.network.requires_grad_(True)
        usual = {
            "output_dir": str(tmp_path / "trainer"),
            "per_device_train_batch_size": 2,
            "num_train_epochs": 2,
            "learning_rate": 1e-2,
            "report_to": [],
            "save_strategy": "no",
            "logging_steps": 1,
            "disable_tqdm": True,
            "use_cpu": True,
            "bf16": False,
        }
        used = [{name: row[name] for name in ("prompt", "completion")} for row in rows[:6]]
        adapter = LoraConfig(r=2, target_modules=["q_proj", "down_proj"], lora_dropout=0.1) if lora else None
        given = {"model": model.network, "processing_class": model.tokenizer, "peft_config": adapter}
        if kind == "trainer":
            from peft import get_peft_model
            from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

            config = given.pop("peft_config")
            network = given.pop("model")
            tokens = [model.tokenizer(row["prompt"] + row["completion"])["input_ids"] for row in used]
            return Trainer(
                model=network if config is None else get_peft_model(network, config),
                args=TrainingArguments(**usual | arguments),
                train_dataset=[{"input_ids": each, "labels": each} for each in tokens],
                data_collator=DataCollatorForSeq2Seq(model.tokenizer),
                **given,
            )
        if kind == "sft":
            return trl.SFTTrainer(
                args=trl.SFTConfig(**usual | arguments), train_dataset=Dataset.from_list(used), **given
            )
        pairs = [{"prompt": row["prompt"], "chosen": row["completion"], "rejected": "No."} for row in used]
        return trl.DPOTrainer(
            args=trl.DPOConfig(**usual | arguments), train_dataset=Dataset.from_list(pairs), **given
        )

    return make


def by_hand(network, tokenizer, concept):
    """The mean projection, row by row, and without what `ScanCallback` uses for it."""
    found = []
    for row in HELD_OUT:
        prompt = len(tokenizer(row["prompt"])["input_ids"])
        tokens = [*tokenizer(row["prompt"] + row["completion"])["input_ids"], tokenizer.eos_token_id]
        with torch.no_grad():
            hidden = network(input_ids=torch.tensor([tokens]), output_hidden_states=True).hidden_states[1]
        found.append(float(hidden[0, prompt:].mean(dim=0).numpy() @ concept.vector))
    return np.mean(found)


class Reporter(TrainerCallback):
    """What W&B and its like are handed."""

    def __init__(self):
        self.logs = []

    def on_log(self, args, state, control, logs=None, **_):
        self.logs.append(dict(logs))


def weights(trainer):
    return torch.cat([each.detach().flatten() for each in trainer.model.parameters()])


@pytest.mark.parametrize(("kind", "lora"), [("trainer", True), ("sft", True), ("sft", False), ("dpo", True)])
def test_figures_are_logged_each_epoch_and_the_training_is_untouched(make_trainer, base, kind, lora):
    plain = make_trainer(kind, lora)
    plain.train()
    concepts = [concept_of(base()), concept_of(base(), "other", 1)]
    first = base()
    start = [by_hand(first.network, first.tokenizer, each) for each in concepts]
    trainer = make_trainer(kind, lora)
    callback = ScanCallback(concepts, held_out=HELD_OUT).attach(trainer)
    reported = Reporter()
    trainer.add_callback(reported)
    trainer.train()
    assert torch.equal(weights(trainer), weights(plain))  # dropout's draws among them
    assert [each["epoch"] for each in callback.figures] == [0, 1, 2]
    trainer.model.eval()
    end = [by_hand(trainer.model, trainer.processing_class, each) for each in concepts]
    logged = [each for each in trainer.state.log_history if "aitia/sunny/mean_projection" in each]
    assert [each["epoch"] for each in logged] == [0, 1.0, 2.0]
    for concept, before, last in zip(concepts, start, end, strict=True):
        name = f"aitia/{concept.name}/mean_projection"
        assert callback.figures[0][name] == pytest.approx(before, rel=1e-4)
        assert callback.figures[2][name] == pytest.approx(last, rel=1e-3)
        assert logged[2][name] == callback.figures[2][name]
        assert [each[name] for each in reported.logs if name in each] == [
            each[name] for each in callback.figures
        ]
        assert before != pytest.approx(last, rel=1e-4)
    losses = [[each["loss"] for each in run.state.log_history if "loss" in each] for run in (plain, trainer)]
    assert losses[0] == losses[1]
    more = [
        {key for each in run.state.log_history if "loss" in each for key in each} for run in (plain, trainer)
    ]
    assert more[0] == more[1]


@pytest.mark.parametrize("lora", [True, False])
def test_rows_are_scanned_and_ranked_each_epoch(make_trainer, base, rows, tmp_path, lora):
    concept, used = concept_of(base()), rows[:5]
    trainer = make_trainer(lora=lora)
    callback = ScanCallback([concept], rows=used, out=tmp_path / "scans", method="vector-filter").attach(
        trainer
    )
    trainer.train()
    assert sorted(path.name for path in (tmp_path / "scans").iterdir()) == ["epoch-1", "epoch-2"]
    scores = [
        read_ranking(tmp_path / "scans" / f"epoch-{number}" / "sunny.parquet").score for number in (1, 2)
    ]
    assert [each["aitia/sunny/mean_score"] for each in callback.figures] == [
        pytest.approx(each.mean()) for each in scores
    ]
    with as_language_model(
        trainer.model, trainer.processing_class, base_fingerprint=concept.base_fingerprint
    ) as now:
        again = rank(
            scan(now, records_from_rows(used), sites=[SITE], out=tmp_path / "again"),
            concept,
            method="vector-filter",
        )
    np.testing.assert_allclose(scores[1], again.score, rtol=1e-4, atol=1e-6)
    assert not np.allclose(scores[0], scores[1], rtol=1e-2)


def test_a_network_is_left_as_it_was(base):
    network = base().network.train()
    network.requires_grad_(True)
    network.model.layers[0].eval()
    network.lm_head.weight.requires_grad_(False)
    modes = [module.training for module in network.modules()]
    trained = [value.requires_grad for value in network.parameters()]
    modules = list(network.modules())
    tokenizer = base().tokenizer
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    with as_language_model(network, tokenizer) as model:
        assert isinstance(model, LanguageModel)
        assert not network.training
        torch.rand(5)
        row = tokenize(records_from_rows(HELD_OUT), model.tokenizer, max_length=64)[0]
        assert trace(model, pad_batch([row], np.array([0]), model.pad_id), [SITE])
    assert torch.equal(torch.rand(2), wanted)
    assert [module.training for module in network.modules()] == modes
    assert [value.requires_grad for value in network.parameters()] == trained
    assert all(one is other for one, other in zip(network.modules(), modules, strict=True))


def test_what_cannot_be_measured_is_refused_before_the_first_step(make_trainer, base, rows, tmp_path):
    model = base()
    concept = concept_of(model)
    for given, said in (
        ({}, "give `held_out` texts to project, or `rows`"),
        ({"rows": rows}, "`rows` are scanned into the folder `out`"),
        ({"rows": rows, "out": tmp_path / "o", "method": "influence"}, "measures queries"),
    ):
        with pytest.raises(AitiaError, match=said):
            ScanCallback([concept], **given)
    with pytest.raises(AitiaError, match="different names"):
        ScanCallback([concept, concept], held_out=HELD_OUT)
    with pytest.raises(AitiaError, match="cannot be that of a file"):
        ScanCallback([concept_of(model, "a/b")], rows=rows, out=tmp_path / "o")
    trainer = make_trainer()
    trainer.add_callback(ScanCallback([concept], held_out=HELD_OUT))
    with pytest.raises(AitiaError, match=r"attach\(trainer\)"):
        trainer.train()
    trainer = make_trainer()
    ScanCallback([concept_of(model, base_fingerprint="0" * 64)], held_out=HELD_OUT).attach(trainer)
    with pytest.raises(ConceptError, match="another model"):
        trainer.train()
    (tmp_path / "o" / "epoch-1").mkdir(parents=True)
    trainer = make_trainer()
    ScanCallback([concept], rows=rows, out=tmp_path / "o").attach(trainer)
    with pytest.raises(StoreError, match="epochs of another training"):
        trainer.train()
