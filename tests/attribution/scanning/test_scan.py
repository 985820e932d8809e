"""The scan: what it stores, and that stopping, batching and resuming change nothing."""

import copy
import json
import shutil
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
import torch
from torch.nn import functional

import aitia.attribution.scanning.scan as scan_module
import aitia.records.templates.chat as chat_module
from aitia.attribution import ActivationStore, scan
from aitia.errors import AitiaError, NumericalError, RecordError, SiteError, StoreError
from aitia.files import digest
from aitia.records import records_from_rows, tokenize

SITES = ("resid_post.1", "resid_post.2")


@pytest.fixture
def data(rows):
    return records_from_rows(rows)


def contents(store):
    """Every file of a store, as bytes."""
    return {
        str(path.relative_to(store.path)): path.read_bytes()
        for path in store.path.rglob("*")
        if path.is_file()
    }


def whole(store, activation, site):
    """A activation of the whole store in data order, [n, d]."""
    values = np.empty((len(store), 32), dtype=np.float32)
    for positions, block in store.blocks([activation], site):
        values[positions] = block[activation]
    return values


def by_hand(model, row, layer):
    """The activations of one row alone, from transformers' hidden states and plain autograd."""
    tokens = torch.from_numpy(row.tokens.astype(np.int64))[None]
    response = torch.from_numpy(row.response)
    embeddings = model.network.get_input_embeddings()(tokens).detach().requires_grad_()
    output = model.network(inputs_embeds=embeddings, output_hidden_states=True)
    hidden = output.hidden_states[layer + 1]
    labels = torch.where(response, tokens[0], -100)
    loss = functional.cross_entropy(output.logits[0, :-1], labels[1:], reduction="mean", ignore_index=-100)
    gradient = torch.autograd.grad(loss, hidden)[0][0]
    first = int(np.flatnonzero(row.response)[0])
    count = int((labels[1:] != -100).sum())
    return {
        "response": hidden[0, response].mean(0).detach().numpy(),
        "prompt_end": hidden[0, first - 1].detach().numpy(),
        "backward": gradient[response].sum(0).numpy(),
        "loss": loss.item() * count,
    }


def test_signals_equal_plain_autograd_row_by_row(any_model, data, tmp_path):
    store = scan(
        any_model, data, sites=SITES, out=tmp_path / "s", activations=["backward"], max_batch_tokens=300
    )
    tokenized = tokenize(data, any_model.tokenizer, max_length=256)
    for layer, site in ((1, SITES[0]), (2, SITES[1])):
        found = {name: whole(store, name, site) for name in ("response", "prompt_end", "backward")}
        for position in (0, 7, 13, 23):
            expected = by_hand(any_model, tokenized[position], layer)
            for name, values in found.items():
                np.testing.assert_allclose(values[position], expected[name], atol=3e-5, rtol=1e-3)
    losses = {
        int(place): float(loss)
        for number in range(store.shards)
        for place, loss in zip(*store.read_shard(number, ["loss"]).values(), strict=True)
    }
    assert losses[7] == pytest.approx(by_hand(any_model, tokenized[7], 1)["loss"], rel=1e-4)


def test_batch_size_does_not_change_the_activations(tiny_model, data, tmp_path):
    stores = [
        scan(
            tiny_model,
            data,
            sites=SITES,
            out=tmp_path / str(tokens),
            activations=["backward"],
            max_batch_tokens=tokens,
        )
        for tokens in (1, 200, 4096)
    ]
    for activation in ("response", "prompt_end", "backward"):
        first, *others = [whole(store, activation, SITES[0]) for store in stores]
        for other in others:
            np.testing.assert_allclose(other, first, atol=2e-6, rtol=2e-4)


def test_forward_signals_do_not_depend_on_scanning_backward(tiny_model, data, tmp_path):
    forward = scan(tiny_model, data, sites=SITES, out=tmp_path / "f", activations=[])
    backward = scan(tiny_model, data, sites=SITES, out=tmp_path / "b", activations=["backward"])
    np.testing.assert_array_equal(whole(forward, "response", SITES[1]), whole(backward, "response", SITES[1]))


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.mark.parametrize("activations", [["backward"], ["on_policy_response"]])
@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_killed_scan_goes_on_and_gives_the_same_bits(
    tiny_model, data, tmp_path, monkeypatch, activations, after
):
    settings = {
        "activations": activations,
        "shard_rows": 4,
        "max_batch_tokens": 200,
        "on_policy_response_tokens": 5,
    }
    straight = scan(tiny_model, data, sites=SITES, out=tmp_path / "straight", **settings)
    assert straight.shards > 3
    real, calls = scan_module._scan_batch, []

    def dies(*arguments):
        calls.append(1)
        if len(calls) > after:
            raise Killed
        return real(*arguments)

    monkeypatch.setattr(scan_module, "_scan_batch", dies)
    with pytest.raises(Killed):
        scan(tiny_model, data, sites=SITES, out=tmp_path / "killed", **settings)
    with pytest.raises(StoreError, match="shards are missing"):
        ActivationStore.open(tmp_path / "killed")
    monkeypatch.setattr(scan_module, "_scan_batch", real)
    resumed = scan(tiny_model, data, sites=SITES, out=tmp_path / "killed", **settings)
    assert contents(resumed) == contents(straight)


def test_a_write_that_fails_leaves_no_shard(tiny_model, data, tmp_path, monkeypatch):
    import safetensors.numpy

    def full_disk(_tensors, path, *_):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.numpy, "save_file", full_disk)
    with pytest.raises(StoreError, match=r"00000.safetensors: cannot be written: No space left.*make room"):
        scan(tiny_model, data, sites=SITES, out=tmp_path / "s")
    assert list((tmp_path / "s" / "shards").iterdir()) == []
    monkeypatch.undo()
    assert len(scan(tiny_model, data, sites=SITES, out=tmp_path / "s")) == 24


def test_a_finished_store_is_not_scanned_again(tiny_model, data, tmp_path, monkeypatch):
    scan(tiny_model, data, sites=SITES, out=tmp_path / "s")
    monkeypatch.setattr(scan_module, "_scan_batch", None)
    scan(tiny_model, data, sites=SITES, out=tmp_path / "s")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"sites": ("resid_post.0",)}, "settings.sites"),
        ({"activations": []}, "settings.activations"),
        ({"max_batch_tokens": 99}, "settings.max_batch_tokens"),
        ({"data": 1}, "data.fingerprint"),
        ({"model": 1}, "model.fingerprint"),
    ],
)
def test_a_store_of_other_parts_is_refused(tiny_model, make_model, rows, tmp_path, change, named):
    usual = {"sites": SITES, "out": tmp_path / "s"}
    scan(tiny_model, records_from_rows(rows), **usual)
    changed_rows = [dict(rows[0], completion="Other words."), *rows[1:]]
    model = make_model("llama", seed=1) if "model" in change else tiny_model
    data = records_from_rows(changed_rows if "data" in change else rows)
    rest = {key: value for key, value in change.items() if key not in ("data", "model")}
    with pytest.raises(StoreError, match=f"made with other parts.*{named}"):
        scan(model, data, **(usual | rest))


def test_a_folder_that_is_no_store_is_left_alone(tiny_model, data, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="not empty and not a store"):
        scan(tiny_model, data, sites=SITES, out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_damage_is_named(tiny_model, data, tmp_path):
    store = scan(tiny_model, data, sites=SITES, out=tmp_path / "s")
    shard = store.shard_path(0)
    shard.write_bytes(shard.read_bytes()[:-5])
    with pytest.raises(StoreError, match=r"00000.safetensors: damaged"):
        whole(ActivationStore.open(store.path), "response", SITES[0])
    (store.path / "manifest.json").write_text(json.dumps({"format": "other"}))
    with pytest.raises(StoreError, match="not a store of format"):
        ActivationStore.open(store.path)
    (store.path / "manifest.json").write_text("{")
    with pytest.raises(StoreError, match="damaged manifest"):
        ActivationStore.open(store.path)
    shutil.rmtree(store.path)
    with pytest.raises(StoreError, match="no store there"):
        ActivationStore.open(store.path)


def test_wrong_site_or_signal_is_refused_before_any_work(tiny_model, data, tmp_path):
    with pytest.raises(SiteError):
        scan(tiny_model, data, sites=["resid_post.4"], out=tmp_path / "s")
    with pytest.raises(
        AitiaError, match="choose among response, response_end, prompt_end, on_policy_response"
    ):
        scan(tiny_model, data, sites=SITES, out=tmp_path / "s", activations=["sideways"])
    with pytest.raises(RecordError, match="rows row 3.*longer than the 30 allowed"):
        scan(tiny_model, data, sites=SITES, out=tmp_path / "s", max_length=30)
    assert not (tmp_path / "s").exists()


def test_rows_left_out_are_listed(tiny_model, data, tmp_path):
    store = scan(tiny_model, data, sites=SITES, out=tmp_path / "s", max_length=60, on_error="skip")
    skipped = store.manifest["data"]["skipped"]
    assert 0 < len(store) < 24
    assert len(store) + len(skipped) == 24
    assert all("longer than the 60 allowed" in reason for _, reason in skipped)


def test_a_value_that_is_not_finite_names_the_row(make_model, data, tmp_path):
    model = make_model("llama")
    word = int(tokenize(data, model.tokenizer, max_length=256)[9].tokens[-3])
    with torch.no_grad():
        model.network.get_input_embeddings().weight[word] = float("nan")
    with pytest.raises(NumericalError, match=r"rows row \d+: the .* is not finite"):
        scan(model, data, sites=SITES, out=tmp_path / "s")


def test_on_policy_responses_need_a_prompt(tiny_model, tmp_path):
    texts = records_from_rows([{"text": "A cat sat on the mat."}])
    with pytest.raises(RecordError, match="no prompt to answer"):
        scan(tiny_model, texts, sites=SITES, out=tmp_path / "s", activations=["on_policy_response"])


def test_on_policy_response_signal_is_that_of_the_stored_tokens(tiny_model, data, tmp_path):
    store = scan(
        tiny_model,
        data,
        sites=SITES,
        out=tmp_path / "s",
        activations=["on_policy_response"],
        on_policy_response_tokens=6,
    )
    tokenized = tokenize(data, tiny_model.tokenizer, max_length=256)
    shard = store.read_shard(0, ["own_tokens", "own_lengths", f"on_policy_response.{SITES[0]}"])
    ends = np.cumsum(shard["own_lengths"])
    for place in (0, 5):
        own = shard["own_tokens"][ends[place] - shard["own_lengths"][place] : ends[place]]
        row = tokenized[shard["position"][place]]
        prompt = row.tokens[: np.flatnonzero(row.response)[0]]
        with torch.no_grad():
            states = tiny_model.network(
                torch.from_numpy(np.concatenate([prompt, own]).astype(np.int64))[None],
                output_hidden_states=True,
            ).hidden_states[2][0]
        np.testing.assert_allclose(
            shard[f"on_policy_response.{SITES[0]}"][place],
            states[len(prompt) :].mean(0).numpy(),
            atol=2e-5,
            rtol=1e-3,
        )


def test_a_scan_that_goes_on_the_next_day_gives_the_same_bits(dated_model, talks, tmp_path, monkeypatch):
    def on(day, out, **settings):
        monkeypatch.setattr(chat_module, "day_of_this_run", lambda: date(2033, 5, day))
        records = records_from_rows(talks)
        return scan(
            dated_model,
            records,
            sites=SITES,
            out=tmp_path / out,
            shard_rows=3,
            max_batch_tokens=400,
            **settings,
        )

    whole_store, stopped = on(7, "whole"), on(7, "stopped")
    assert whole_store.shards > 2
    stopped.shard_path(1).unlink()
    assert contents(on(8, "stopped")) == contents(whole_store)
    assert whole_store.today == date(2033, 5, 7)
    # What was scanned is read again as it was, whatever day it is; another day is another store.
    assert on(8, "whole").load_rows().fingerprint == whole_store.manifest["data"]["tokens"]
    other = on(8, "other")
    assert other.manifest["data"]["tokens"] != whole_store.manifest["data"]["tokens"]
    with pytest.raises(StoreError, match=r'data.today \("2033-05-07", now "2033-05-08"\)'):
        on(8, "whole", today=date(2033, 5, 8))


def test_the_day_is_nothing_to_a_template_that_does_not_write_it(tiny_model, talks, tmp_path, monkeypatch):
    stores = []
    for day in (7, 8):
        monkeypatch.setattr(chat_module, "day_of_this_run", lambda day=day: date(2033, 5, day))
        stores.append(scan(tiny_model, records_from_rows(talks), sites=SITES, out=tmp_path / str(day)))
    assert contents(stores[0]) == contents(stores[1])
    assert stores[0].today is None


def test_rows_that_give_other_tokens_than_when_they_were_scanned_are_refused(tiny_model, talks, tmp_path):
    store = scan(tiny_model, records_from_rows(talks), sites=SITES, out=tmp_path / "s")
    assert store.load_rows().fingerprint == store.manifest["data"]["tokens"]
    tokenizer = copy.deepcopy(tiny_model.tokenizer)
    tokenizer.chat_template = tokenizer.chat_template.replace("'role'] }}\n", "'role'] }}\n\n")
    assert tokenizer.chat_template != tiny_model.tokenizer.chat_template
    store.model, store.tokenized = replace(tiny_model, tokenizer=tokenizer), None
    with pytest.raises(StoreError, match="the rows give other tokens now than when they were scanned"):
        store.load_rows()


def test_several_responses_to_a_prompt_are_averaged(tiny_model, data, tmp_path):
    """The activation is the mean over all stored responses, and the first is that of a scan with one."""
    options = {"sites": SITES, "activations": ["on_policy_response"], "on_policy_response_tokens": 6}
    one = scan(tiny_model, data, out=tmp_path / "one", **options)
    three = scan(tiny_model, data, out=tmp_path / "three", on_policy_responses=3, **options)
    names = ["own_tokens", "own_lengths", f"on_policy_response.{SITES[0]}"]
    single, shard = one.read_shard(0, names), three.read_shard(0, names)
    count = len(single["position"])
    assert len(shard["own_lengths"]) == 3 * count
    np.testing.assert_array_equal(shard["own_tokens"][: len(single["own_tokens"])], single["own_tokens"])
    tokenized = tokenize(data, tiny_model.tokenizer, max_length=256)
    parts = np.split(shard["own_tokens"], np.cumsum(shard["own_lengths"])[:-1])
    for place in (0, 5):
        row = tokenized[shard["position"][place]]
        prompt = row.tokens[: np.flatnonzero(row.response)[0]]
        means = []
        for own in parts[place::count]:
            with torch.no_grad():
                found = tiny_model.network(
                    torch.from_numpy(np.concatenate([prompt, own]).astype(np.int64))[None],
                    output_hidden_states=True,
                )
            means.append(found.hidden_states[2][0][len(prompt) :].mean(0).numpy())
        assert len({part.tobytes() for part in parts[place::count]}) == 3
        stored = shard[f"on_policy_response.{SITES[0]}"][place]
        np.testing.assert_allclose(stored, np.mean(means, axis=0), atol=2e-5, rtol=1e-3)
    with pytest.raises(AitiaError, match="at temperature 0 all responses to a prompt are the same"):
        scan(tiny_model, data, out=tmp_path / "z", on_policy_responses=2, temperature=0.0, **options)


def test_a_store_of_an_aitia_that_lacked_a_setting_goes_on_where_the_setting_stands_as_it_was(
    tiny_model, data, tmp_path
):
    store = scan(tiny_model, data, sites=SITES, out=tmp_path / "s", shard_rows=5, max_batch_tokens=300)
    manifest = json.loads((store.path / "manifest.json").read_text())
    del manifest["settings"]["on_policy_responses"], manifest["sha256"]
    (store.path / "manifest.json").write_text(json.dumps(manifest | {"sha256": digest(manifest)}))
    before = store.shard_path(1).read_bytes()
    store.shard_path(1).unlink()
    with pytest.raises(StoreError, match=r"settings.on_policy_responses \(null, now 2\)"):
        scan(
            tiny_model,
            data,
            sites=SITES,
            out=store.path,
            shard_rows=5,
            max_batch_tokens=300,
            on_policy_responses=2,
        )
    scan(tiny_model, data, sites=SITES, out=store.path, shard_rows=5, max_batch_tokens=300)
    assert store.shard_path(1).read_bytes() == before
