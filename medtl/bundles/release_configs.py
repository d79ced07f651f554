"""The configs of a released bundle, which run where medtl is unknown. Pure functions of a WeightsCard; no torch."""

from medtl.bundles.stock_parts import (
    INFERER,
    LABELLED,
    LISTED,
    MEASURED,
    SPLITS,
    Config,
    answers,
    augmentation,
    common,
    dataloader,
    evaluator,
    loading,
    loss,
    metrics,
    networks,
    normalising,
    stats,
    weights_loader,
)
from medtl.networks.registry import backbone_of
from medtl.weights.card import WeightsCard

LOGGING = """[loggers]
keys=root

[handlers]
keys=console

[formatters]
keys=plain

[logger_root]
level=INFO
handlers=console

[handler_console]
class=StreamHandler
level=INFO
formatter=plain
args=(sys.stdout,)

[formatter_plain]
format=%(asctime)s %(name)s %(levelname)s: %(message)s
"""


def inference_config(card: WeightsCard) -> Config:
    """Return inference.json: a folder (or file) of PNG and JPEG to predictions.csv."""
    columns = ["pred"] if card.task == "regression" else [_quoted(f"prob_{name}") for name in card.classes]
    header = ",".join(["image", "patient", "split", *columns])
    # stock CSVSaver writes "<name>,<number>,…" lines: the name carries the header before the first of them
    quoted = "'\"%s\"' % item['name'].replace('\"', '\"\"')"
    row = f"({quoted} if set(item['name']) & set(',\"') else item['name']) + ',,inference'"
    picture = "path.suffix.lower() in ('.png', '.jpg', '.jpeg') and path.name[0] not in '._'"
    return {
        **common(card, "inference"),
        "header": header,
        "root": "$pathlib.Path(str(@dataset_dir))",
        "files": f"$[@root] if @root.is_file() else sorted(path for path in @root.rglob('*') if {picture})"
        " if @dataset_dir else []",
        "named": "$[{'image': str(path), 'name': path.name if path == @root else path.relative_to(@root).as_posix()}"
        " for path in @files]",
        "data": "$[{'image': item['image'], 'row': ('' if number else @header + '\\n') + "
        f"{row}}} for number, item in enumerate(@named)]",
        "initialize": ["$@network"],
        **networks(card),
        "preprocessing": {"_target_": "Compose", "transforms": [*loading(card), *normalising(card)]},
        "dataset": {"_target_": "Dataset", "data": "@data", "transform": "@preprocessing"},
        "dataloader": dataloader("@dataset"),
        "inferer": INFERER,
        "handlers": [
            weights_loader(),
            {
                "_target_": "ClassificationSaver",
                "output_dir": "@output_dir",
                "batch_transform": "$lambda batch: [{'filename_or_obj': row} for row in batch['row']]",
                "output_transform": f"$lambda output: {answers(card)}",
            },
        ],
        "evaluator": evaluator(),
        "run": [
            "$@data or sys.exit('--dataset_dir %s holds no PNG or JPEG' % (@dataset_dir or '(missing)'))",
            "$@evaluator.run()",
            "$print('predictions of', len(@data), 'pictures in', os.path.join(@output_dir, 'predictions.csv'),"
            " '(not for clinical use)')",
        ],
    }


def evaluate_config(card: WeightsCard) -> Config:
    """Return evaluate.json: a data list's split to metrics.csv; runs by itself, or after train.json."""
    transforms = [*loading(card), *normalising(card, labelled=True)]
    return {
        **common(card, "evaluation"),
        "split": "test",
        "data": LABELLED.format(key=f"{SPLITS}.get(@split, @split)"),
        "initialize": ["$@network"],
        **networks(card),
        "preprocessing": {"_target_": "Compose", "transforms": transforms},
        "dataset": {"_target_": "Dataset", "data": "@data", "transform": "@preprocessing"},
        "dataloader": dataloader("@dataset"),
        "inferer": INFERER,
        "handlers": [
            weights_loader(),
            stats(),
            {"_target_": "MetricsSaver", "save_dir": "@output_dir", "metrics": "*"},
        ],
        **metrics(card, "eval"),
        "evaluator": evaluator(**MEASURED),
        "run": [LISTED, "$@evaluator.run()"],
    }


def train_config(card: WeightsCard) -> Config:
    """Return train.json: fine-tunes from the released weights on a data list; ``head`` new starts a new one, for other
    classes."""
    head = backbone_of(card.architecture.backbone).head
    state = "torch.load(@weights, map_location='cpu', weights_only=True).items()"
    kept = f"{{name: tensor for name, tensor in {state} if @head != 'new' or not name.startswith('{head}.')}}"
    before, after = [*loading(card)], normalising(card, labelled=True)
    return {
        **common(card, "fine_tuned"),
        "seed": 0,
        "epochs": 20,
        "learning_rate": 0.0003,
        "weight_decay": 0.01,
        "head": "released",
        "val_interval": 1,
        "initialize": ["$monai.utils.set_determinism(seed=@seed)", "$@network"],
        **networks(card),
        "started": f"$@network.load_state_dict({kept}, strict=@head != 'new')",
        "loss": loss(card),
        "optimizer": {
            "_target_": "torch.optim.AdamW",
            # the optimiser is made after the weights are in place
            "params": "$[@started, @network.parameters()][1]",
            "lr": "@learning_rate",
            "weight_decay": "@weight_decay",
        },
        "lr_scheduler": {
            "_target_": "torch.optim.lr_scheduler.CosineAnnealingLR",
            "optimizer": "@optimizer",
            "T_max": "@epochs",
        },
        "train": {
            "preprocessing": {"_target_": "Compose", "transforms": [*before, *augmentation(), *after]},
            "dataset": {
                "_target_": "Dataset",
                "data": LABELLED.format(key="'training'"),
                "transform": "@train#preprocessing",
            },
            "dataloader": dataloader("@train#dataset", shuffle=True),
            "inferer": INFERER,
            "handlers": [
                {
                    "_target_": "ValidationHandler",
                    "validator": "@validate#evaluator",
                    "interval": "@val_interval",
                    "epoch_level": True,
                },
                {"_target_": "LrScheduleHandler", "lr_scheduler": "@lr_scheduler", "print_lr": False},
                {
                    "_target_": "StatsHandler",
                    "tag_name": "train_loss",
                    "output_transform": "$lambda output: output['loss']",
                },
            ],
            "trainer": {
                "_target_": "SupervisedTrainer",
                "max_epochs": "@epochs",
                "device": "@device",
                "train_data_loader": "@train#dataloader",
                "network": "@network",
                "optimizer": "@optimizer",
                "loss_function": "@loss",
                "inferer": "@train#inferer",
                "train_handlers": "@train#handlers",
                "decollate": False,
            },
        },
        "validate": {
            "preprocessing": {"_target_": "Compose", "transforms": [*before, *after]},
            "dataset": {
                "_target_": "Dataset",
                "data": LABELLED.format(key="'validation'"),
                "transform": "@validate#preprocessing",
            },
            "dataloader": dataloader("@validate#dataset"),
            "inferer": INFERER,
            "handlers": [
                stats(),
                {
                    "_target_": "CheckpointSaver",
                    "save_dir": "@output_dir",
                    "save_dict": {"model": "@network"},
                    "save_key_metric": True,
                    **({"key_metric_negative_sign": True} if card.task == "regression" else {}),
                    "key_metric_filename": "model.pt",
                },
            ],
            **metrics(card, "val"),
            "evaluator": evaluator("validate#", **MEASURED),
        },
        "run": [LISTED, "$@train#trainer.run()"],
    }


def _quoted(name: str) -> str:
    """Return a CSV field."""
    return '"' + name.replace('"', '""') + '"' if any(mark in name for mark in ',"\n') else name
