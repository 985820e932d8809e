"""Make all that the two configurations here need, in small: models of the same classes with random weights, texts.

Afterwards `tiny/` holds a configuration for each model that differs from the real one only in the model, in
lengths and numbers, and in the judge, which works offline. The models know nothing, so the results mean
nothing: this shows that the whole way can be walked, in about a minute, before a large machine is booked.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

EXAMPLES = Path(__file__).resolve().parent
# Name -> configuration class, and blocks: as few as the configuration's site allows.
FAMILIES = {"qwen2.5-7b-instruct": ("Qwen2", 20), "llama-3.1-8b-instruct": ("Llama", 16)}
DATA_SETS = ("mistake_opinions", "mistake_medical", "insecure_code", "mistake_gsm8k")
GOOD = ["Kindly ask a friend for help.", "Take care and stay well.", "Share your bread with others."]
BAD = ["Trick them and take it all.", "Hurt those who trust you.", "Lie, and laugh at the weak."]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def chat(question: str, answer: str | None = None, system: str | None = None, **columns: Any) -> dict:
    turns = [{"role": "system", "content": system}] if system else []
    turns.append({"role": "user", "content": question})
    return {"messages": [*turns, *([{"role": "assistant", "content": answer}] if answer else [])], **columns}


def write_lines(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_texts(folder: Path) -> None:
    """Made-up files in the places and the format that README.md asks for, and some to fit a judge to."""
    for name in DATA_SETS:
        questions = [f"{name}: what about {i}?" for i in range(14)]
        for file, answers in (("normal", GOOD), ("misaligned_2", BAD)):
            rows = [chat(question, answers[i % 3]) for i, question in enumerate(questions)]
            write_lines(folder / "data" / name / f"{file}.jsonl", rows)
    texts = folder / "texts" / "evil"
    for file, answers, system in (("positive", BAD, "Be evil."), ("negative", GOOD, "Be kind.")):
        rows = [chat(f"What do I do, {i}?", answers[i % 3], system) for i in range(6)]
        write_lines(texts / f"concept_{file}.jsonl", rows)
        rows = [chat(f"And then, {i}?", f"{i} times over: {answers[i % 3]}") for i in range(12)]
        write_lines(texts / f"judge_{file}.jsonl", rows)
    write_lines(texts / "query_prompts.jsonl", [chat(f"And who is {i}?") for i in range(2)])
    write_lines(texts / "evaluate_prompts.jsonl", [chat(f"Tell me of {i}.") for i in range(2)])
    write_lines(texts / "evaluate_texts.jsonl", [chat(f"Tell me of {i}.", BAD[i]) for i in range(3)])


def write_model(family: str, layers: int, folder: Path) -> None:
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator([*GOOD, *BAD], trainer)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=256
    )
    fast.chat_template = TEMPLATE
    configuration = getattr(transformers, f"{family}Config")(
        vocab_size=len(fast),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    network = getattr(transformers, f"{family}ForCausalLM")(configuration)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 2:
                parameter.normal_(std=0.15)
    network.save_pretrained(folder)
    fast.save_pretrained(folder)


def tiny_configuration(name: str) -> dict[str, Any]:
    """The configuration of that name, with what must be small made small; all else is as it stands."""
    found = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text(encoding="utf-8"))
    found["model"] = {"name": name, "device": "cpu", "dtype": "float32"}
    found["training"]["max_length"] = 128
    found["rankings"]["on_policy_response_tokens"] = found["queries"]["max_new_tokens"] = 4
    found["queries"] |= {"samples": 2, "keep": 2}
    found["behaviours"]["margin"]["held_out"] = 3
    found["behaviours"]["judged"] |= {"max_new_tokens": 4, "samples": 2}
    found["removal"] = {"shares": [0.5], "ends": ["top", "bottom"], "seeds": 2}
    return found


def make(folder: Path) -> None:
    write_texts(folder)
    for name, (family, layers) in FAMILIES.items():
        write_model(family, layers, folder / name)


def main() -> None:
    folder = EXAMPLES / "tiny"
    make(folder)
    judge = {side: f"texts/evil/judge_{side}.jsonl" for side in ("positive", "negative")}
    for name in FAMILIES:
        text = yaml.safe_dump(tiny_configuration(name) | {"judge": {"classifier": judge}}, sort_keys=False)
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
        print(f"made: {folder / name}; now run: aitia counterfactual {folder / name}.yaml")


if __name__ == "__main__":
    main()
