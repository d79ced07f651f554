#!/usr/bin/env bash
# Takes every figure that needs a GPU, in eight minutes at most, and leaves JSON, logs and a table in a folder.
# usage: benchmarks/gpu.sh [--device cuda] [--seconds 4] [--minutes 8] [--out gpu_figures] [--python python3] [--steps a,b,…]
# A step that is cut off by the time, or fails, is named in the table; what was measured before it stays.
set -u
device=cuda seconds=4 minutes=8 out=gpu_figures python=python3 chosen=
while [ $# -gt 0 ]; do
  case $1 in
    --device) device=$2 ;; --seconds) seconds=$2 ;; --minutes) minutes=$2 ;;
    --out) out=$2 ;; --python) python=$2 ;; --steps) chosen=$2 ;;
    *) echo "gpu.sh: unknown option $1; see the head of the file" >&2; exit 2 ;;
  esac
  shift 2
done
cd "$(dirname "$0")/.." || exit 1
mkdir -p "$out" || exit 1
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
end=$((SECONDS + minutes * 60)) failed=0
small=()                       # on a CPU the steps only have to run: small pictures, one round
[ "$device" = cpu ] && small=(--image_size 64 --batch_size 8 --rounds 1)

step() {                       # NAME COMMAND…: run it in the time that is left, its output to NAME.log, one row to the table
  local name=$1 since=$SECONDS left=$((end - SECONDS)) status; shift
  case ",${chosen:-$name}," in *",$name,"*) ;; *) return ;; esac
  if [ "$left" -lt 5 ]; then status="no time left"; else
    timeout "$left" "$@" >"$out/$name.log" 2>&1; status=$?
    [ "$status" = 124 ] && status="cut off by the time"
  fi
  [ "$status" = 0 ] || failed=1
  printf '%-24s %5s s  status %s\n' "$name" $((SECONDS - since)) "$status" | tee -a "$out/steps.txt"
  [ "$status" = 0 ] || tail -n 5 "$out/$name.log" 2>/dev/null
}
training() {                   # NAME OPTION…
  local name=$1; shift
  step "$name" "$python" benchmarks/training.py --device "$device" --seconds "$seconds" "${small[@]}" "$@" --json "$out/$name.json"
}

: >"$out/steps.txt"
step tests "$python" -m pytest -q -p no:cacheprovider tests/transforms/test_batch.py tests/data/test_packed.py
step runs "$python" benchmarks/cuda_runs.py --device "$device" --json "$out/runs.json"
training resnet18 --backbone resnet18 --ways bare,medtl
training resnet50 --backbone resnet50 --ways bare,medtl
step embedding "$python" benchmarks/embedding.py --device "$device" --seconds "$seconds" "${small[@]}" --json "$out/embedding.json"
training resnet18_streamed --backbone resnet18 --ways bare,medtl,input --resident never
training resnet18_compiled --backbone resnet18 --ways bare,medtl --compile
training resnet50_compiled --backbone resnet50 --ways bare,medtl --compile
training resnet18_zoo --backbone resnet18 --rounds 2
[ "$device" = cpu ] || training resnet18_fp16 --backbone resnet18 --ways bare,medtl --precision fp16
"$python" benchmarks/gpu_table.py "$out" | tee "$out/table.md"
exit $failed
