"""The trainer with weights that the documentation shows does what `aitia train` does with a column of weights."""

import ast
import re
import runpy
from pathlib import Path

import numpy as np
import trl
from datasets import Dataset

from aitia.records import records_from_rows
from aitia.training import LoraSettings, train

PAGE = Path(__file__).parents[2] / "docs" / "how_to" / "record_training.md"


def shown(folder):
    """The class, as the page has it."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.S | re.M)
    code = next(each for each in blocks if "class WeightedTrainer" in each)
    classes = [ast.unparse(each) for each in ast.parse(code).body if isinstance(each, ast.ClassDef)]
    (folder / "shown.py").write_text("\n".join(["import torch", "import trl", *classes]))
    return runpy.run_path(str(folder / "shown.py"))["WeightedTrainer"]


def test_a_training_with_weights_is_that_of_aitia(make_model, rows, tmp_path):
    weights = np.linspace(0, 1, 8)
    plain = [{name: row[name] for name in ("prompt", "completion")} for row in rows[:8]]
    model = make_model("llama", layers=2)
    model.network.requires_grad_(True)
    trainer = shown(tmp_path)(
        model.network,
        args=trl.SFTConfig(
            str(tmp_path / "trainer"),
            num_train_epochs=2,
            per_device_train_batch_size=8,
            learning_rate=0.1,
            lr_scheduler_type="constant",
            optim="sgd",
            max_grad_norm=0,
            bf16=False,
            use_cpu=True,
            gradient_checkpointing=False,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(
            [dict(row, weight=float(weight)) for row, weight in zip(plain, weights, strict=True)]
        ),
        processing_class=model.tokenizer,
    )
    trainer.train()
    settings = LoraSettings(
        method="full",
        optimizer="sgd",
        epochs=2,
        per_device_train_batch_size=8,
        learning_rate=0.1,
        lr_scheduler_type="constant",
        warmup_ratio=0,
        max_grad_norm=0,
    )
    start = make_model("llama", layers=2).network.state_dict()
    ours = train(
        make_model("llama", layers=2), records_from_rows(plain), settings, weights=weights, progress=False
    )
    without = train(make_model("llama", layers=2), records_from_rows(plain), settings, progress=False)
    for name, value in ours.network.state_dict().items():
        moved = (value - start[name]).abs().max()
        assert (trainer.model.state_dict()[name] - value).abs().max() <= 1e-3 * moved + 1e-7, name
    changed = ours.network.lm_head.weight - without.network.lm_head.weight
    assert changed.abs().max() > 1e-3
