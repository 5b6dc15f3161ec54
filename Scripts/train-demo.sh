#!/bin/sh
# Overfits a toy model to 64 pictures, in under two minutes of two cores. The small model of the repository draws the pictures,
# eight of each of eight classes; its tokenizer turns them into tokens, at 64 pixels; and an M-VAR of three narrow blocks
# learns them by heart.
#
#   Scripts/train-demo.sh PATH_TO_MVAR [FOLDER]
set -eu
cd "$(dirname "$0")/.."

mvar=$1
out=${2:-demo/train}
emoji=Models/emoji

rm -rf "$out"
for class in smiley heart fruit flower ball boat drink sky; do
  "$mvar" sample --model $emoji/model.safetensors --tokenizer $emoji/tokenizer.safetensors --class "$class" --count 8 \
    --batch 8 --out "$out/pictures/$class" --quiet
done
"$mvar" train model --data "$out/pictures" --hold-out 0 --framing whole --no-flip \
  --tokenizer $emoji/tokenizer.safetensors --scales 1,2,3,4,6,8 --versions 1 --depth 3 --width 128 --shared-modulation \
  --batch 16 --steps 110 --base-rate 5e-2 --schedule cos --stochastic-depth 0 --label-dropout 0.1 --averaging 0.9 \
  --log-every 10 --validate-every 1000 --save-every 1000 --out "$out/model"
"$mvar" sample --model "$out/model/model.safetensors" --tokenizer $emoji/tokenizer.safetensors --class all --count 4 \
  --guidance 1 --grid "$out/grid.png" --out "$out/samples" --quiet
echo "what was learnt:  $PWD/$out/pictures"
echo "what came of it:  $PWD/$out/grid.png"
