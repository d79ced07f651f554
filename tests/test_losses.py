"""The pretraining loss against MONAI's own."""

import pytest
import torch
from monai.losses import ContrastiveLoss

from medtl.losses import LabelsAndViews, between_views


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_views_as_monai_scores_them(temperature: float) -> None:
    torch.manual_seed(0)
    projections = torch.randn(12, 5, dtype=torch.float64, requires_grad=True)
    ours = between_views(projections, temperature)
    theirs = ContrastiveLoss(temperature=temperature)(*projections.chunk(2))
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    mine, other = (torch.autograd.grad(loss, projections, retain_graph=True)[0] for loss in (ours, theirs))
    assert torch.allclose(mine, other, atol=1e-7)


def test_each_part_can_be_turned_off() -> None:
    torch.manual_seed(0)
    logits, projections, labels = torch.randn(8, 3), torch.randn(8, 4), torch.tensor([0, 1, 2, 0])
    entropy = torch.nn.functional.cross_entropy(logits, labels.repeat(2))
    assert LabelsAndViews(contrast=0)((logits, projections), labels).item() == pytest.approx(entropy.item())
    views = between_views(projections, 0.2)
    assert LabelsAndViews(supervision=0)((logits, projections), labels).item() == pytest.approx(views.item())
