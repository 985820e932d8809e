"""Kinds of curvature: their registry, and a kind that another file enters."""

import pytest
import torch

from aitia.attribution.gradients import kinds
from aitia.attribution.gradients.curvature import CurvatureSettings
from aitia.attribution.gradients.curvature_fitting import fit_curvature
from aitia.attribution.gradients.kind_kfac import Covariances, Eigenvalues
from aitia.attribution.gradients.kinds import KINDS, CurvatureKind, register
from aitia.attribution.gradients.planning import plan_curvature
from aitia.errors import AitiaError
from aitia.settings import described


def test_settings_choose_among_the_kinds_that_files_enter_from_few_passes_to_many():
    kind = next(each for each in described(CurvatureSettings) if each.name == "kind")
    assert kind.choices == tuple(KINDS)
    assert tuple(KINDS)[:3] == ("identity", "diagonal", "kfac")
    assert [each.name for each in KINDS["ekfac"]] == ["covariances", "eigenvalues"]
    with pytest.raises(AitiaError, match="choose among identity, diagonal, kfac, ekfac"):
        CurvatureSettings(kind="newton")


def test_a_kind_is_fitted_planned_and_resumed_by_its_passes_alone(tiny_model, data, tmp_path, monkeypatch):
    """Twice the covariances and then the eigenvalues: the same sums and so ekfac, by three passes."""

    class Again(Covariances):
        name, title = "covariances_again", "Covariances again"

    before = dict(KINDS)
    register(CurvatureKind("careful", (Covariances(), Again(), Eigenvalues())))
    try:
        assert list(KINDS)[-1] == "careful"
        settings = CurvatureSettings(kind="ekfac")
        careful = CurvatureSettings(kind="ekfac")
        object.__setattr__(careful, "kind", "careful")  # the choices were made when the package was imported
        plain = fit_curvature(tiny_model, data, settings)
        monkeypatch.setattr("aitia.attribution.gradients.curvature.check", lambda *_: None)
        found = fit_curvature(tiny_model, data, careful, out=tmp_path / "c.safetensors")
        for name, layer in plain.layers.items():
            for part in ("left", "right", "eigenvalues"):
                assert torch.equal(getattr(found.layers[name], part), getattr(layer, part))
        one, two = (plan_curvature(tiny_model, data, each) for each in (settings, careful))
        assert (one.passes, two.passes) == (2, 3)
        assert two.operations > one.operations
    finally:
        kinds._KINDS.clear()
        kinds._KINDS.update(before)
    assert dict(KINDS) == before
