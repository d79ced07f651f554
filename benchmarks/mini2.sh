#!/usr/bin/env bash
# Trains the two candidates for medtl's second shipped start, beside each other on one GPU.
# usage: benchmarks/mini2.sh MIX WEIGHTS OUT [EPOCHS]      (python benchmarks/transfer_study.py --steps data makes MIX)
#
# Both go on from MobileNetV2 trained on ImageNet (WEIGHTS, Apache-2.0) with the licensed images of MIX (ChestXRay2017's
# released training images, NIH ChestX-ray14, key slices of the Decathlon, LIDC-IDRI), at 128 pixels:
#   labels        the labels alone
#   labels_views  the labels and SimCLR's pairs of views
#
# The rule that chooses between them was written down before either was trained: the one whose frozen features give the
# higher mean test AUC of a logistic probe (penalty chosen on validation, seeds 0 to 4) on HAM10000, which is in no
# mix and no target of the study. If the chosen one is not above its own ImageNet start on the targets that it has not
# seen (BreastMNIST, BUSI), the ImageNet start is what is shipped. It was not: docs/transfer_study.md.
set -u
mix=$1 weights=$2 out=$3 epochs=${4:-50}
cd "$(dirname "$0")/.." || exit 1
train() {
  python3 -m monai.bundle run --config_file bundles/medtl_mini_resnet18/configs/train.json --dataset_dir "$mix" \
    --backbone timm/mobilenetv2_100 --init "$weights" --image_size 128 --batch_size 256 --learning_rate 0.03 \
    --epochs "$epochs" --save_interval 100000 --output_dir "$out/$1" --method "$2" >"$out/$1.log" 2>&1
}
mkdir -p "$out"
train labels supervised &
train labels_views supervised+simclr &
wait
tail -n 2 "$out"/*.log
