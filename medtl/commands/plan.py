"""Say how many images a study needs: ``medtl plan``."""

import json
import math
from dataclasses import asdict
from typing import Annotated

import typer

from medtl.commands.options import Debug

SHOWN = (50, 100, 200, 400, 800, 1600)


def plan(
    auc: Annotated[float, typer.Option(help="Expect this area under the ROC curve of the better model.")],
    prevalence: Annotated[float, typer.Option(help="Expect this share of positive images.")],
    difference: Annotated[float, typer.Option(help="Expect the other model's area to be smaller by this.")] = 0.0,
    n: Annotated[str | None, typer.Option(help="Judge these numbers of images: 100,200.")] = None,
    images_per_patient: Annotated[
        int, typer.Option("--images-per-patient", help="Expect this many images of a patient, all of one class.")
    ] = 1,
    icc: Annotated[float, typer.Option(help="Assume this correlation between the scores of a patient's images.")] = 0.5,
    correlation: Annotated[
        float, typer.Option(help="Assume this correlation, within a class, between two models' scores of an image.")
    ] = 0.5,
    power: Annotated[float, typer.Option(help="Find the number of images that has this power.")] = 0.8,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    debug: Debug = False,
) -> None:
    """Say how many images a study needs.

    For each number of images it gives the half-width of the 95 % interval of an AUC, and the chance that DeLong's
    test finds a difference between two models. No data are needed.
    """
    from medtl.compare.words import whole_numbers
    from medtl.errors import UsageError
    from medtl.metrics.power import Design, images_for, outlook

    design = Design(auc, prevalence, difference, images_per_patient, icc, correlation)
    found = []
    for images in whole_numbers("--n", n) if n is not None else SHOWN:
        try:
            found.append(outlook(design, images))
        except UsageError:
            if n is not None:
                raise
    needed = images_for(design, power) if difference else None
    if as_json:
        rows = [{k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(o).items()} for o in found]
        content = {**asdict(design), "power_wanted": power, "images_needed": needed, "outlook": rows}
        typer.echo(json.dumps(content, indent=1))
        return
    for each in found:
        line = f"{each.images:,} images of {each.patients:,} patients, {each.positive:,} positive: AUC {auc:.3f} ±"
        line += f" {each.half_width:.3f}"
        if difference:
            line += (
                f"; difference {difference:.3f} ± {each.difference_half_width:.3f}, found with power {each.power:.0%}"
            )
        typer.echo(line)
    assumed = f"scores of two models correlate by {correlation:g} on an image" if difference else ""
    if images_per_patient > 1:
        effect = f", design effect {found[-1].design_effect:.2f}" if found else ""
        assumed += f"{'; ' if assumed else ''}those of two images of a patient by {icc:g}{effect}"
    if needed is not None:
        typer.echo(f"power {power:.0%} needs {needed:,} images ({assumed})")
    elif assumed:
        typer.echo(f"assumed: {assumed}")
