"""Bundle runs that only a GPU can prove: half precision, nccl with SyncBatchNorm, and a stopped run that goes on.

    python benchmarks/cuda_runs.py [--device cuda] [--json FILE]

All train bundles/breastmnist on its built-in sample (phantoms), beside each other, each in a process of its own:

* plain: the recipe as it is;
* half: fp16 with scaled gradients (bf16 on a CPU);
* processes: torchrun with one process, nccl and SyncBatchNorm (gloo without it on a CPU);
* whole: repeatable kernels, undisturbed;
* resumed: the same, stopped by SIGTERM after its first checkpoint and continued with ``--resume auto``. Its weights
  must be those of ``whole`` to the last bit.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from medtl.weights.read import read_state_dict

CONFIGS = Path(__file__).resolve().parents[1] / "bundles" / "breastmnist" / "configs"
STOPPED = 75
PATIENCE = 300.0  # seconds that one run may take


def command(device: str, out: Path, extra: list[str], processes: int = 0) -> list[str]:
    """Return the words of one run."""
    files = [str(CONFIGS / "train.json")]
    launcher = []
    if processes:
        files.append(str(CONFIGS / "multi_gpu_train.json"))
        launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
    chosen = [] if processes else ["--device", device]
    words = ["-m", "monai.bundle", "run", "--config_file", str(files), "--output_dir", str(out), *chosen, *extra]
    return [sys.executable, *launcher, *words]


def run(words: list[str], log: Path) -> int:
    """Run a command to its end and return its status."""
    with open(log, "ab") as file:
        return subprocess.run(words, stdout=file, stderr=subprocess.STDOUT, timeout=PATIENCE).returncode


def stop_and_go_on(device: str, out: Path, extra: list[str], log: Path) -> int:
    """Stop a run after its first checkpoint, continue it, and return the status of the continuation."""
    with open(log, "ab") as file:
        first = subprocess.Popen(command(device, out, extra), stdout=file, stderr=subprocess.STDOUT)
        until = time.monotonic() + PATIENCE
        while first.poll() is None and not list(out.glob("checkpoints/*.pt")) and time.monotonic() < until:
            time.sleep(0.05)
        first.send_signal(signal.SIGTERM)
        status = first.wait(PATIENCE)
    if status != STOPPED:
        raise RuntimeError(f"the stopped run ended with status {status} instead of {STOPPED}: {log}")
    return run(command(device, out, [*extra, "--resume", "auto"]), log)


def largest_difference(one: Path, other: Path) -> float:
    """Return the largest difference between the weights of two runs."""
    a, b = (read_state_dict(folder / "model.pt") for folder in (one, other))
    return max(float((a[name].double() - b[name].double()).abs().max()) for name in a)


def facts(out: Path, status: int) -> dict[str, Any]:
    """Return the status of a run and its metrics on the test split."""
    found = out / "metrics.json"
    metrics = json.loads(found.read_text(encoding="utf-8")) if found.is_file() else {}
    return {"status": status, "test_auc": metrics.get("test_auc"), "test_accuracy": metrics.get("test_accuracy")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--epochs", type=int, default=4)
    args = parser.parse_args()
    is_gpu = args.device.startswith("cuda")
    short = ["--epochs", str(args.epochs), "--num_workers", "0"]
    whole = [*short, "--deterministic", "True", "--save_interval", "0"]
    with tempfile.TemporaryDirectory(prefix="medtl-cuda-") as folder:
        at = Path(folder)
        jobs = {
            "plain": lambda out, log: run(command(args.device, out, short), log),
            "half": lambda out, log: run(
                command(args.device, out, [*short, "--precision", "fp16" if is_gpu else "bf16"]), log
            ),
            "processes": lambda out, log: run(
                command(args.device, out, [*short, "--sync_batchnorm", str(is_gpu)], processes=1), log
            ),
            "whole": lambda out, log: run(command(args.device, out, whole), log),
            "resumed": lambda out, log: stop_and_go_on(args.device, out, whole, log),
        }
        os.environ.setdefault("OMP_NUM_THREADS", "2")
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        with ThreadPoolExecutor(len(jobs) if (os.cpu_count() or 1) > len(jobs) else 1) as pool:
            waiting = {name: pool.submit(job, at / name, at / f"{name}.log") for name, job in jobs.items()}
            found = {name: facts(at / name, future.result()) for name, future in waiting.items()}
        if all(found[name]["status"] == 0 for name in ("whole", "resumed")):
            found["resumed"]["largest_difference"] = largest_difference(at / "whole", at / "resumed")
        for name, each in found.items():
            print(f"{name:10} " + ", ".join(f"{key} {value}" for key, value in each.items() if value is not None))
            if each["status"]:
                print("\n".join((at / f"{name}.log").read_text(errors="replace").splitlines()[-15:]))
    if args.json:
        args.json.write_text(json.dumps({"device": args.device, "runs": found}, indent=1) + "\n", encoding="utf-8")
    fine = all(each["status"] == 0 for each in found.values())
    sys.exit(0 if fine and found["resumed"].get("largest_difference") == 0 else 1)


if __name__ == "__main__":
    main()
