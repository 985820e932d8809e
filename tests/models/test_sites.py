import pytest

from aitia.errors import ModelError, SiteError
from aitia.models.sites import decoder_blocks, site_layer, site_names, sort_sites


def test_every_family_has_its_blocks_found(any_model):
    assert any_model.layers == 4
    assert any_model.sites == ("resid_post.0", "resid_post.1", "resid_post.2", "resid_post.3")


def test_site_layer_reads_the_number():
    assert site_layer("resid_post.3", 4) == 3


@pytest.mark.parametrize(
    "site", ["resid_post.4", "resid_post.-1", "resid_post", "mlp.1", "resid_post.1x", ""]
)
def test_unknown_site_is_refused_with_the_sites_there_are(site):
    with pytest.raises(SiteError, match=r"resid_post.0 to resid_post.3"):
        site_layer(site, 4)


def test_sites_are_sorted_by_layer_not_by_name():
    assert sort_sites(["resid_post.10", "resid_post.9", "resid_post.10"], 12) == (
        "resid_post.9",
        "resid_post.10",
    )
    with pytest.raises(SiteError, match="no site given"):
        sort_sites([], 12)


def test_site_names_count_from_zero():
    assert site_names(2) == ("resid_post.0", "resid_post.1")


def test_a_network_without_blocks_is_refused():
    from torch import nn

    network = nn.Linear(2, 2)
    network.config = type("Config", (), {"num_hidden_layers": 3})()
    with pytest.raises(ModelError, match="expected one list of 3"):
        decoder_blocks(network)


def network_of(layers, parts, decoder=None):
    """A network of nothing but named parts, whose configuration says how many blocks there are."""
    from torch import nn

    network = nn.Module()
    network.config = type("Config", (), {"num_hidden_layers": layers})()
    for name, part in parts.items():
        network.add_module(name, part)
    if decoder is not None:
        network.get_decoder = lambda: network.get_submodule(decoder)
    return network


def list_of(count, make=None):
    from torch import nn

    return nn.ModuleList((make or nn.Identity)() for _ in range(count))


def test_experts_as_many_as_blocks_are_not_taken_for_them():
    blocks = list_of(3, lambda: list_of(3))
    assert decoder_blocks(network_of(3, {"layers": blocks})) is blocks


def test_the_blocks_of_a_model_that_also_sees_are_those_of_its_text_decoder():
    text, sight = list_of(3), list_of(3)
    parts = {"text": network_of(3, {"layers": text}), "sight": network_of(3, {"layers": sight})}
    assert decoder_blocks(network_of(3, parts, decoder="text")) is text
    with pytest.raises(ModelError, match="expected one list of 3 transformer blocks, found 2"):
        decoder_blocks(network_of(3, parts))
    inside = network_of(3, {"layers": text, "embedding": network_of(3, {"layers": sight})})
    assert decoder_blocks(network_of(3, {"model": inside}, decoder="model")) is text
