"""What a released segmentation has beside a classifier: its network as TorchScript, for stock MONAI has none of these,
and, of volumes, an inference.json that repeats medtl's own with MONAI and torch alone."""

import io
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from medtl.bundles.stock_parts import Config, common, dataloader, evaluator
from medtl.data.patches import OVERLAP
from medtl.networks.segmenter import TIMM, Segmenter, build_segmenter
from medtl.weights.card import SegmentationArchitecture, VolumeContract, WeightsCard

ZIP_TIME = (1980, 1, 1, 0, 0, 0)
# source lines and paths of the machine that wrote the file, and a checksum of these; loading needs neither
UNTOLD = (".debug_pkl", ".data/serialization_id")
CONSTANTS = re.compile(rb"(?:^ +\w+ : Final\[.*\n)+", re.MULTILINE)
SLICES_AT_ONCE = 8
# MONAI's writer, but a volume of one slice keeps its third axis: the last axis of what it gets is the channel
WRITER = (
    "$type('MaskWriter', (monai.data.NibabelWriter,), {'create_backend_obj': classmethod(lambda cls, data_array,"
    " **rest: monai.data.NibabelWriter.create_backend_obj(data_array[..., 0], **rest))})"
)


def network(what: SegmentationArchitecture) -> Segmenter:
    """Return the network that weights of this architecture fill."""
    return build_segmenter(
        what.backbone, what.num_classes, what.in_channels, what.output_stride, what.decoder, what.auxiliary
    )


def export(trained: Segmenter, what: SegmentationArchitecture, path: Path) -> None:
    """Write a network as TorchScript: for pictures of any number, in evaluation mode.

    It is compiled, not traced, so no size is built in. A trunk of timm alone, whose code cannot be compiled, is traced
    at the square that it was trained on: what its code decides by a size holds for that size. The same network gives
    the same bytes in a fresh process; behind other networks in one process TorchScript may number its types
    differently.

    Args:
        trained: with its weights.
        what: its architecture.
        path: the ``.ts``.
    """
    trained = trained.eval()
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # of torch.jit; MONAI's bundles are built on it
        if what.backbone.startswith(TIMM):
            warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
            square = torch.zeros(1, what.in_channels, what.image_size, what.image_size)
            trunk = torch.jit.trace(trained.backbone, square, check_trace=False)
            trained = Segmenter(trunk, trained.classifier, trained.aux_classifier, trained.edges).eval()
        torch.jit.save(torch.jit.script(trained), content)
    with zipfile.ZipFile(content) as saved, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as kept:
        for info in saved.infolist():
            if not info.filename.endswith(UNTOLD):
                kept.writestr(zipfile.ZipInfo(info.filename, ZIP_TIME), _ordered(info.filename, saved.read(info)))


def _ordered(name: str, content: bytes) -> bytes:
    """Return a file of a TorchScript archive, its classes' constants by name: torch lists them as a Python set happens
    to."""
    if not name.endswith(".py"):
        return content
    return CONSTANTS.sub(lambda found: b"".join(sorted(found[0].splitlines(keepends=True))), content)


def inference_config(card: WeightsCard) -> Config:
    """Return inference.json: a folder (or file) of NIfTI volumes to masks on the volumes' own grids."""
    every = {key: value for key, value in common(card, "inference").items() if key != "weights"}
    scan = "path.name.lower().endswith(('.nii', '.nii.gz')) and path.name[0] not in '._'"
    engine = {key: value for key, value in evaluator().items() if key != "val_handlers"}
    return {
        **every,
        "imports": [*every["imports"], "$import monai", "$import numpy"],
        "batch_size": SLICES_AT_ONCE,
        "root": "$pathlib.Path(str(@dataset_dir))",
        "files": f"$[@root] if @root.is_file() else sorted(path for path in @root.rglob('*') if {scan})"
        " if @dataset_dir else []",
        "data": "$[{'image': str(path)} for path in @files]",
        "initialize": ["$@network"],
        "network_def": {
            "_target_": "torch.jit.load",
            "f": "$@bundle_root + '/models/model.ts'",
            "map_location": "@device",
        },
        "network": "$@network_def.to(@device)",
        **_grey(card),
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {
                    "_target_": "LoadImaged",
                    "keys": "image",
                    "reader": "NibabelReader",
                    "dtype": None,
                    "ensure_channel_first": True,
                },
                # as it is looked at: columns from the patient's right, rows from the front, slices from the feet
                {"_target_": "Orientationd", "keys": "image", "axcodes": "LPS", "labels": None},
                {"_target_": "Lambdad", "keys": "image", "func": "$lambda image: @grey(image[:1])"},
            ],
        },
        "dataset": {"_target_": "Dataset", "data": "@data", "transform": "@preprocessing"},
        "dataloader": {**dataloader("@dataset"), "batch_size": 1},
        **_slices(card),
        "postprocessing": {"_target_": "Compose", "transforms": _postprocessing(card)},
        "evaluator": {**engine, "decollate": True, "postprocessing": "@postprocessing"},
        "run": [
            "$@data or sys.exit('--dataset_dir %s holds no NIfTI (.nii, .nii.gz)' % (@dataset_dir or '(missing)'))",
            "$@evaluator.run()",
            "$print('masks of', len(@data), 'volumes in', os.path.join(@output_dir, 'masks'),"
            " '(not for clinical use)')",
        ],
    }


def _grey(card: WeightsCard) -> Config:
    """Return ``grey``, from a volume to 0..255 in whole numbers between two percentiles of its non-zero voxels."""
    assert isinstance(card.input, VolumeContract)
    scale = f"{card.input.scale:g}"
    # single precision, as medtl rounds
    linear = f"(image.float() - float(numpy.float32(low))) * float(numpy.float32({scale} / (high - low)))"
    return {
        "percentiles": list(card.input.percentiles),
        "ends": "$lambda voxels: [float(end) for end in numpy.percentile(voxels[voxels != 0], @percentiles)]"
        " if voxels.any() else [0.0, 0.0]",
        "grey": f"$lambda image: (lambda low, high: ({linear}).round().clamp(0, {scale}) if high > low else"
        " image.float() * 0)(*@ends(image.numpy()))",
    }


def windows(card: WeightsCard) -> Config:
    """Return the ids of a picture's way through a window that slides over it, where a run was on patches."""
    side = card.recipe["patch_size"]
    return {
        **_normalising(card),
        "windows": {
            "_target_": "SlidingWindowInferer",
            "roi_size": [side, side],
            "sw_batch_size": SLICES_AT_ONCE,
            "overlap": OVERLAP,
            "mode": "gaussian",
        },
        "inferer": "$lambda picture, network, *args, **kwargs: @windows(@normalised(picture.float()), network)",
    }


def _normalising(card: WeightsCard) -> Config:
    what, pixels = card.architecture, card.input
    return {
        "mean": list(pixels.mean),
        "std": list(pixels.std),
        "normalised": f"$lambda square: (square.repeat(1, {what.in_channels // pixels.file_channels}, 1, 1) /"
        f" {pixels.scale:g} - torch.tensor(@mean, device=square.device)[:, None, None])"
        " / torch.tensor(@std, device=square.device)[:, None, None]",
    }


def fitting(card: WeightsCard) -> Config:
    """Return the ids of a picture's way into the square and of its logits' way back to its own size."""
    pixels = card.input
    scale = f"{pixels.scale:g}"
    enlarge = "torch.nn.functional.interpolate"
    return {
        # where a slice lies in the square: top, left, height, width
        "place": "$lambda rows, columns: (lambda height, width: ((@image_size - height) // 2, (@image_size - width)"
        " // 2, height, width))(*(max(1, round(side * (@image_size / max(rows, columns)))) for side in"
        " (rows, columns)))",
        "fitted": f"$lambda grey: (lambda top, left, height, width: torch.nn.functional.pad({enlarge}(grey, (height,"
        f" width), mode='{pixels.resize}', antialias=True).round().clamp(0, {scale}), (left, @image_size - width -"
        " left, top, @image_size - height - top)))(*@place(*grey.shape[2:]))",
        **_normalising(card),
        "unfitted": f"$lambda logits, rows, columns: (lambda top, left, height, width: {enlarge}(logits[:, :, top:top +"
        " height, left:left + width].float(), (rows, columns), mode='bilinear', align_corners=False))"
        "(*@place(rows, columns))",
    }


def _slices(card: WeightsCard) -> Config:
    """Return ``inferer``: each slice fitted into the square, through the network, its logits back on the slice's own
    grid."""
    return {
        **fitting(card),
        # MONAI's slices are (columns, rows)
        "through": "$lambda network: lambda grey: @unfitted(network(@normalised(@fitted(grey.mT))), *grey.mT.shape[2:])"
        ".mT",
        "slices": {
            "_target_": "SliceInferer",
            "roi_size": [-1, -1],
            "spatial_dim": 2,
            "sw_batch_size": "@batch_size",
        },
        "inferer": "$lambda volume, network, *args, **kwargs: @slices(volume, @through(network))",
    }


def largest_pieces(card: WeightsCard) -> list[dict[str, Any]]:
    """Return the transform that keeps each class's largest piece, where the run did so."""
    if card.recipe.get("postprocess") != "largest":
        return []
    largest = {
        "_target_": "KeepLargestConnectedComponentd",
        "keys": "pred",
        "applied_labels": list(range(1, card.architecture.num_classes)),
        "independent": True,
        "is_onehot": False,
    }
    return [largest]


def _postprocessing(card: WeightsCard) -> list[dict[str, Any]]:
    """Return transforms from logits to a mask file on the axes and with the affine of the volume's own."""
    return [
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        *largest_pieces(card),
        {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image"},
        {
            "_target_": "SaveImaged",
            "keys": "pred",
            "output_dir": "$os.path.join(@output_dir, 'masks')",
            "output_postfix": "",
            "output_ext": ".nii.gz",
            "output_dtype": "$numpy.uint8",
            "resample": False,
            "squeeze_end_dims": False,
            "writer": WRITER,
            "data_root_dir": "$str(@root if @root.is_dir() else @root.parent)",
            "separate_folder": False,
            "print_log": False,
        },
    ]
