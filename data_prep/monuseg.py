"""MoNuSeg 2018: nuclei in histology of several organs; outlines in XML become masks, every nucleus of the one class."""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from data_prep import masked
from data_prep.masked import Row
from data_prep.sample.drawing import generator
from data_prep.work import Done, Rejected, Source, Work
from medtl.cards import DatasetCard
from medtl.errors import BadFileError, UsageError
from medtl.readers.find import below, left_over
from medtl.readers.raster import read_raster
from medtl.readers.xml_tree import read_tree

CARD = DatasetCard(
    name="monuseg",
    title="MoNuSeg 2018, nuclei in histology of several organs",
    task="segmentation",
    classes=("nucleus",),
    licence="CC BY-NC-SA 4.0",
    citation="Kumar et al., A Dataset and a Technique for Generalized Nuclear Segmentation for Computational Pathology,"
    " IEEE Transactions on Medical Imaging 2017",
    url="https://monuseg.grand-challenge.org/Data/",
    how_to_get="Download training and test data from the challenge's page and unzip both under one folder.",
    disk_gb=None,
    layout="Tissue Images/TCGA-….tif with Annotations/TCGA-….xml for training, and a folder with Test in its name that"
    " holds the same of the test set, side by side or in such folders",
    seen=False,
)
PICTURE = re.compile(r"(?P<key>(?P<patient>TCGA-\w\w-\w{4})-[\w-]+)\.(?:tif|tiff|png)$", re.IGNORECASE)
OUTLINES = re.compile(r"(?P<key>TCGA-\w\w-\w{4}-[\w-]+)\.xml$", re.IGNORECASE)
TEST = re.compile(r"test", re.IGNORECASE)


def find(raw: Path) -> Source:
    """Return the work of a download: each picture with the file of its outlines; what has no partner is named.

    Raises:
        UsageError: it holds no picture of the set.
    """
    tree = below(raw)
    rejected = [Rejected(*one) for one in tree.refused]
    names = [one.name for one in tree.files]
    outlines = {match["key"].upper(): name for name in names if (match := OUTLINES.search(name))}
    pictures = {match["key"].upper(): (name, match["patient"]) for name in names if (match := PICTURE.search(name))}
    if not pictures and not rejected:
        raise UsageError(f"{raw} holds no picture of {CARD.name}: expected {CARD.layout}")
    rejected += [Rejected(pictures[key][0], "has no outlines (.xml)") for key in sorted(pictures.keys() - outlines)]
    rejected += [Rejected(outlines[key], "has no picture") for key in sorted(outlines.keys() - pictures)]
    works = []
    for key in sorted(pictures.keys() & outlines):
        file, patient = pictures[key]
        split = "test" if TEST.search(file) else ""
        works.append(Work(key, (raw / file, raw / outlines[key]), [file, outlines[key], patient.upper(), split]))
    used = [name for work in works for name in work.payload[:2]]
    passed = left_over(tree, used, [row.file for row in rejected])
    found = {"nucleus": len(works)}
    return Source(CARD.name, raw, tuple(works), process, {}, found, "pictures", tuple(rejected), passed)


def process(work: Work, raw: Path, out: Path) -> Done:
    """Fill the outlines of one picture and write both; the picture as PNG, which training reads."""
    file, outlines, patient, split = work.payload
    row = Row(file, (), patient, split, name=Path(file).stem)
    try:
        labels = filled(read_tree(raw / outlines, "outlines of MoNuSeg"), read_raster(raw / file).shape[:2])
        return Done([masked.written(CARD.name, row, labels, raw, out)])
    except BadFileError as error:
        return Done(rejected=[Rejected(file, str(error))])


def filled(root: ElementTree.Element, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the mask (rows, columns) of all regions that an annotation file of Aperio ImageScope outlines.

    Args:
        root: of the file: Regions of Vertices with X (column) and Y (row) in pixels.
        shape: rows and columns of the picture.

    Raises:
        BadFileError: it outlines nothing, or a vertex is no number.
    """
    mask = Image.new("1", (shape[1], shape[0]))
    pen, count = ImageDraw.Draw(mask), 0
    for region in root.iter("Region"):
        try:
            points = [(float(each.attrib["X"]), float(each.attrib["Y"])) for each in region.iter("Vertex")]
        except (KeyError, ValueError):
            raise BadFileError("its outlines hold a vertex without numbers X and Y") from None
        if not np.isfinite(points).all():
            raise BadFileError("its outlines hold a vertex without numbers X and Y")
        if len(points) > 2:  # fewer enclose nothing
            pen.polygon(points, fill=1)
            count += 1
    if not count:
        raise BadFileError("its outlines mark nothing")
    return np.asarray(mask).astype(np.uint8)


command = masked.command_of(CARD, find, 0.0)


def make_sample(folder: Path) -> None:
    """Draw the layout: pictures of 144 pixels with violet nuclei, and their outlines as polygons; of the last four, the
    test set."""
    for number in range(14):
        rng = generator("monuseg", number)
        part = folder / ("MoNuSegTestData" if number > 9 else "MoNuSeg 2018 Training Data")
        name = f"TCGA-{'ABCDEFG'[number // 2]}X-{1000 + number // 2}-01Z-00-DX{1 + number % 2}"
        tissue = np.array([225, 160, 195]) + rng.normal(0, 9, (144, 144, 3))
        picture = Image.fromarray(np.clip(tissue, 0, 255).astype(np.uint8))
        pen, regions = ImageDraw.Draw(picture), []
        for _ in range(int(rng.integers(15, 30))):
            centre, radii, turns = rng.uniform(8, 136, 2), rng.uniform(4, 9, 2), np.linspace(0, 2 * np.pi, 20)[:-1]
            points = np.round(centre + radii * np.stack((np.cos(turns), np.sin(turns)), 1), 2)
            pen.polygon([tuple(point) for point in points.tolist()], fill=(105, 65, 140))
            vertices = "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in points.tolist())
            regions.append(f"<Region><Vertices>{vertices}</Vertices></Region>")
        images = part if number > 9 else part / "Tissue Images"
        annotations = part if number > 9 else part / "Annotations"
        for each in (images, annotations):
            each.mkdir(parents=True, exist_ok=True)
        picture.save(images / f"{name}.tif")
        text = f"<?xml version='1.0'?><Annotations><Annotation><Regions>{''.join(regions)}</Regions></Annotation>"
        (annotations / f"{name}.xml").write_text(f"{text}</Annotations>", encoding="utf-8")
