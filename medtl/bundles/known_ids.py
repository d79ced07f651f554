"""The ids of configs that the facade knows by name. No torch: ``medtl check`` reads this, too."""

# where things lie and what is done with them; all other plain values at the top of a config are its recipe
PLACES = frozenset(
    {"dataset_dir", "output_dir", "resume", "save_interval", "explain", "weights", "split", "input", "distributed"}
)
# those of them that are a path, or may be one, and init
PATHS = ("dataset_dir", "output_dir", "input", "weights", "resume", "init")
# hyperparameters that a config computes
COMPUTED = (
    *("epochs", "batch_size", "image_size", "learning_rate", "num_workers", "device"),
    *("backbone", "sequence", "fold", "output_stride", "decoder", "auxiliary", "postprocess", "patch_size"),
)
# of a word such as auto: the id that holds what it came to mean in this run
MEANT = {"sequence": "trained_on"}
# of every training, though no config names them: an override adds them
USUAL = {"patience": 0}
# read without a reference (``@id``) in the config; tests/test_recipes.py compares them with the code
READ = frozenset(
    {
        "accumulate", "backbone", "balance", "batch_size", "channels_last", "classes", "compile", "data", "dataset_dir",
        "debug", "decoder", "deterministic", "device", "distributed", "ema", "epochs", "explain", "fold", "formats",
        "freeze", "image_size", "init", "input", "key_metric", "learning_rate", "loss_function", "lr_scheduler",
        "methods", "mixup", "most_instances", "network", "num_workers", "optimizer", "output_dir", "patch_size",
        "patches", "patience", "positive_class", "postprocess", "precision", "resume", "save_interval", "seed",
        "sequence", "split", "start", "sync_batchnorm", "test", "threshold", "threshold_rule", "train",
        "train_fraction", "trained_on", "trunk_multiplier", "validate", "warmup", "weight_decay", "weights",
    }
)  # fmt: skip
