"""The inference.json of a released segmentation of pictures: medtl's own, repeated with MONAI and torch alone. Pure
functions of a WeightsCard."""

from medtl.bundles.release_segmentation import fitting, largest_pieces, windows
from medtl.bundles.stock_parts import Config, common, dataloader, evaluator, loading
from medtl.weights.card import WeightsCard


def inference_config(card: WeightsCard) -> Config:
    """Return inference.json: a folder (or file) of PNG and JPEG to masks of class indices, as PNG of the pictures'
    sizes."""
    unread = ("weights", "batch_size", *(["image_size"] if card.recipe.get("patch_size") else []))
    every = {key: value for key, value in common(card, "inference").items() if key not in unread}
    picture = "path.suffix.lower() in ('.png', '.jpg', '.jpeg') and path.name[0] not in '._'"
    engine = {key: value for key, value in evaluator().items() if key != "val_handlers"}
    return {
        **every,
        "imports": [*every["imports"], "$import numpy"],
        "root": "$pathlib.Path(str(@dataset_dir))",
        "files": f"$[@root] if @root.is_file() else sorted(path for path in @root.rglob('*') if {picture})"
        " if @dataset_dir else []",
        "data": "$[{'image': str(path)} for path in @files]",
        "initialize": ["$@network"],
        "network_def": {
            "_target_": "torch.jit.load",
            "f": "$@bundle_root + '/models/model.ts'",
            "map_location": "@device",
        },
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": loading(card)[:1]},
        "dataset": {"_target_": "Dataset", "data": "@data", "transform": "@preprocessing"},
        "dataloader": {**dataloader("@dataset"), "batch_size": 1},  # pictures differ in size
        **(windows(card) if card.recipe.get("patch_size") else _squares(card)),
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
                *largest_pieces(card),
                # MONAI's writer takes columns first
                {"_target_": "Lambdad", "keys": "pred", "func": "$lambda mask: mask.mT"},
                {
                    "_target_": "SaveImaged",
                    "keys": "pred",
                    "output_dir": "$os.path.join(@output_dir, 'masks')",
                    "output_postfix": "",
                    "output_ext": ".png",
                    "output_dtype": "$numpy.uint8",
                    "resample": False,
                    "writer": "PILWriter",
                    "data_root_dir": "$str(@root if @root.is_dir() else @root.parent)",
                    "separate_folder": False,
                    "print_log": False,
                },
            ],
        },
        "evaluator": {**engine, "decollate": True, "postprocessing": "@postprocessing"},
        "run": [
            "$@data or sys.exit('--dataset_dir %s holds no PNG or JPEG' % (@dataset_dir or '(missing)'))",
            "$len({path.with_suffix('') for path in @files}) == len(@files)"
            " or sys.exit('two pictures differ in their ending alone, and would have one mask')",
            "$@evaluator.run()",
            "$print('masks of', len(@data), 'pictures in', os.path.join(@output_dir, 'masks'),"
            " '(not for clinical use)')",
        ],
    }


def _squares(card: WeightsCard) -> Config:
    return {
        **fitting(card),
        "inferer": "$lambda picture, network, *args, **kwargs:"
        " @unfitted(network(@normalised(@fitted(picture))), *picture.shape[2:])",
    }
