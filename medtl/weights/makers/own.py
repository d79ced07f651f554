"""Weights of medtl's own bundles."""

from medtl.cards import dataset_cards
from medtl.weights.sources import Source, register

register(
    Source(
        "cpmid",
        "CPMID, by the bundle of that network",
        licence=dataset_cards()["cpmid"].licence,
        trained_on=("cpmid",),
        how_to_get="train bundles/cpmid_{backbone} on CPMID (its images may not be redistributed, so no weights are),"
        " then put its model.pt as {stem}_cpmid.pt into the folder that $MEDTL_WEIGHTS names",
    )
)
register(
    Source(
        "mini",
        "4,916 public images at 64 pixels; medtl brings those of ResNet-18",
        licence=dataset_cards()["cpmid"].licence,
        how_to_get="medtl brings those of resnet18 alone; put the bundle medtl_mini_{stem}, or its zip, into the folder"
        " that $MEDTL_WEIGHTS names, or pretrain by bundles/medtl_mini_resnet18 with --backbone and start from its run",
    )
)
