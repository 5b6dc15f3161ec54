#!/bin/sh
# Draws emoji with the small trained model of the repository, and takes a picture through its tokens and back.
#
#   Scripts/demo.sh PATH_TO_MVAR
set -eu
cd "$(dirname "$0")/.."

mvar=$1
emoji=Models/emoji
mkdir -p demo

"$mvar" reconstruct --tokenizer $emoji/tokenizer.safetensors --scales 1,2,3,4,6,9,12 \
  --image $emoji/hamster.png --fit pad --out demo/reconstruction.png --show-scales --quiet
"$mvar" sample --model $emoji/model.safetensors --tokenizer $emoji/tokenizer.safetensors \
  --class "smiley,cat face,flower,fruit,heart,car,boat,clock,sky,sweet" --count 6 --seed 1 --out demo/samples --grid demo/grid.png

echo "a picture through its tokens:  $PWD/demo/reconstruction.png"
echo "sixty samples in a grid:       $PWD/demo/grid.png"
echo "Models/emoji/README.md tells what the model is; try  $mvar sample --help"
