"""Training a sparse autoencoder: it finds a known dictionary, again to the bit, and says what it cannot do."""

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aitia.concepts import SaeSettings, fit_sae, train_sae
from aitia.concepts.sae_training import token_activations
from aitia.errors import ConceptError, NumericalError
from aitia.models import trace
from aitia.records import pad_batch, records_from_rows, tokenize

pytest.importorskip("sparsify", reason="the extra `sae` is not installed")
WIDTH, ATOMS = 16, 24


@pytest.fixture(scope="module")
def toy():
    """Activations that are two of 24 known directions each, far from the origin."""
    generator = np.random.default_rng(0)
    atoms = generator.normal(size=(ATOMS, WIDTH))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    codes = np.zeros((6000, ATOMS))
    for row in codes:
        row[generator.choice(ATOMS, 2, replace=False)] = generator.uniform(1, 2, size=2)
    return atoms, (40 * (codes @ atoms) + 500).astype(np.float32)


SETTINGS = SaeSettings(features=32, k=2, epochs=25, batch_tokens=256, learning_rate=5e-3)


@pytest.fixture(scope="module")
def trained(toy):
    return train_sae(toy[1], site="resid_post.0", settings=SETTINGS)


def test_it_finds_the_directions_that_the_data_are_made_of(toy, trained):
    atoms, activations = toy
    rows = trained.decoder.numpy()
    likeness = (rows / np.linalg.norm(rows, axis=1, keepdims=True)) @ atoms.T
    assert (likeness.max(axis=0) > 0.9).mean() > 0.7
    assert trained.training["unexplained_variance"] < 0.2
    assert trained.training["tokens"] == 5700
    given = torch.from_numpy(activations[:50])
    assert int((trained.encode(given) > 0).sum(dim=1).max()) <= 2
    rest = (trained.reconstruct(given) - given).square().sum() / (given - given.mean(0)).square().sum()
    assert rest < 0.25  # activations as they are, uncentred


def test_the_same_again_gives_the_same_bits(toy):
    short = SaeSettings(features=8, k=2, epochs=1, batch_tokens=256)
    first, second = (train_sae(toy[1], site="resid_post.0", settings=short) for _ in range(2))
    assert first.fingerprint == second.fingerprint
    other = train_sae(toy[1], site="resid_post.0", settings=SaeSettings(**vars(short) | {"seed": 1}))
    assert other.fingerprint != first.fingerprint


def test_only_response_tokens_are_collected(tiny_model, rows):
    records = records_from_rows(rows[:3])
    tokenized = tokenize(records, tiny_model.tokenizer, max_length=256)
    found = token_activations(tiny_model, records, "resid_post.2", max_tokens=10_000)
    expected = [
        trace(tiny_model, pad_batch(tokenized, np.array([i]), 0), ["resid_post.2"])["resid_post.2"][0][
            row.response
        ].numpy()
        for i, row in enumerate(tokenized)
    ]
    assert len(found) == sum(len(part) for part in expected)
    np.testing.assert_allclose(
        found[np.lexsort(found.T)],
        np.concatenate(expected)[np.lexsort(np.concatenate(expected).T)],
        atol=1e-5,
    )


@pytest.fixture(scope="module")
def counted(tiny_model, rows):
    """Three texts, and a function that says which of their response tokens are chosen."""
    records = records_from_rows(rows[:3])
    every = token_activations(tiny_model, records, "resid_post.2", max_tokens=10_000)
    place = {row.tobytes(): i for i, row in enumerate(every)}
    assert len(place) == len(every)

    def chosen(max_tokens, seed):
        found = token_activations(tiny_model, records, "resid_post.2", max_tokens=max_tokens, seed=seed)
        return [place[row.tobytes()] for row in found]

    return len(every), chosen


@settings(max_examples=20)
@given(most=st.integers(1, 120), seed=st.integers(0, 10**6))
def test_at_most_so_many_tokens_are_collected_each_once(counted, most, seed):
    total, chosen = counted
    found = chosen(most, seed)
    assert len(found) == len(set(found)) == min(most, total)
    assert chosen(most, seed) == found


def test_every_token_is_as_likely_to_be_collected(counted):
    total, chosen = counted
    counts = np.bincount(np.concatenate([chosen(total // 3, seed) for seed in range(120)]), minlength=total)
    expected = 120 * (total // 3) / total
    variance = expected * (1 - (total // 3) / total)
    assert np.abs(counts - expected).max() < 4.5 * np.sqrt(variance)
    assert (counts - expected).var() == pytest.approx(variance, rel=0.5)


def test_the_choice_of_tokens_does_not_depend_on_batches(tiny_model, rows):
    found = [
        token_activations(
            tiny_model, records_from_rows(rows[:5]), "resid_post.2", max_tokens=30, max_batch_tokens=most
        )
        for most in (64, 4096)
    ]
    ordered = [each[np.lexsort(each.T.round(3))] for each in found]
    np.testing.assert_allclose(*ordered, atol=1e-4)


def test_fit_keeps_where_it_belongs(tiny_model, rows):
    chosen = SaeSettings(features=8, k=2, epochs=1, batch_tokens=32)
    sae = fit_sae(tiny_model, records_from_rows(rows), "resid_post.1", chosen)
    assert (sae.site, sae.base_fingerprint, sae.width) == ("resid_post.1", tiny_model.base_fingerprint, 32)


def test_bad_input(monkeypatch):
    def train(values, **chosen):
        return train_sae(np.asarray(values, dtype=np.float32), site="s", settings=SaeSettings(**chosen))

    with pytest.raises(ConceptError, match="100 tokens are too few"):
        train(np.zeros((100, 4)))
    with pytest.raises(ConceptError, match="all the same"):
        train(np.ones((600, 4)), batch_tokens=64)
    with pytest.raises(NumericalError, match="not finite"):
        train(np.full((600, 4), np.nan), batch_tokens=64)
    with pytest.raises(ConceptError, match="k 9: at most the number of features, 4"):
        SaeSettings(features=4, k=9)
    with pytest.raises(ConceptError, match="epochs 0"):
        SaeSettings(epochs=0)
    monkeypatch.setitem(sys.modules, "sparsify", None)
    with pytest.raises(ConceptError, match=r"pip install 'aitia\[sae\]'"):
        train(np.random.default_rng(0).normal(size=(600, 4)), batch_tokens=64, features=8, k=2)


def test_a_decoder_that_needs_a_gpu_is_named_before_any_work(monkeypatch):
    """Where sparsify was imported with Triton, its first step would fail with a message about drivers."""
    import sparsify

    monkeypatch.setattr(sparsify.utils, "decoder_impl", sparsify.utils.triton_decode)
    with pytest.raises(ConceptError, match="set SPARSIFY_DISABLE_TRITON=1"):
        train_sae(np.random.default_rng(0).standard_normal((600, 4)).astype(np.float32), site="resid_post.0")
