#!/bin/sh
# Times this project and a plain PyTorch implementation on the same machine, with the same weights.
#
#   Scripts/bench.sh PATH_TO_MVAR
#
#   THREADS=2          threads of both
#   DTYPES="float32"   precisions of mvar; PyTorch runs in float32, as the reference does
#   REPEAT=3           runs after one that warms up
set -eu
cd "$(dirname "$0")/.."

mvar=$1
PYTHON=${PYTHON:-python3}
THREADS=${THREADS:-2}
DTYPES=${DTYPES:-float32}
REPEAT=${REPEAT:-3}
venv=Benchmarks/pytorch/.venv
weights=Benchmarks/pytorch/.cache/weights

if [ ! -e "$venv/installed" ]; then
  echo "bench: making a Python environment for the baseline"
  "$PYTHON" -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r Benchmarks/pytorch/requirements.txt
  touch "$venv/installed"
fi
if [ ! -e "$weights/mvar_d16.pth" ]; then
  "$venv/bin/python" Benchmarks/pytorch/make_random_checkpoint.py --out "$weights"
fi

mkdir -p .cache
"$venv/bin/python" Benchmarks/pytorch/bench.py --model mvar --depth 16 --image-size 256 --batch 1 \
  --threads "$THREADS" --weights "$weights" --repeat "$REPEAT" --json .cache/bench-pytorch.json
for dtype in $DTYPES; do
  "$mvar" bench --model mvar --depth 16 --image-size 256 --batch 1 --threads "$THREADS" \
    --device cpu --weights "$weights" --repeat "$REPEAT" --dtype "$dtype" \
    --json ".cache/bench-mvar-$dtype.json"
done
"$venv/bin/python" Benchmarks/compare.py .cache/bench-pytorch.json .cache/bench-mvar-*.json
