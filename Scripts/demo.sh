#!/bin/sh
# Reconstructs a picture through its tokens and samples from a small golden checkpoint.
#
#   Scripts/demo.sh PATH_TO_MVAR
set -eu
cd "$(dirname "$0")/.."

mvar=$1
golden=Tests/Fixtures/golden
mkdir -p demo

"$mvar" reconstruct --tokenizer $golden/tokenizer.pth --image Tests/Fixtures/preprocess/rgb.png \
  --out demo/reconstruction.png --show-scales --quiet
"$mvar" sample --model $golden/mvar-256px/mvar.pth --tokenizer $golden/tokenizer.pth \
  --class all --count 1 --seed 1 --out demo/samples --grid demo/grid.png --quiet

echo "a picture through its tokens:  $PWD/demo/reconstruction.png"
echo "ten samples in a grid:         $PWD/demo/grid.png"
echo "The golden checkpoints have small random weights: they test the numbers, their pictures are noise."
