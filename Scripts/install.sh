#!/bin/sh
# Installs mvar and the libraries it opens: PREFIX/bin/mvar, PREFIX/lib/mvar.
#
#   Scripts/install.sh BUILD_FOLDER PREFIX
set -eu
cd "$(dirname "$0")/.."

built=$1
prefix=$2
bin=$prefix/bin
lib=$prefix/lib/mvar

mkdir -p "$bin" "$lib" 2>/dev/null || {
  echo "install: cannot write to $prefix; name another with PREFIX=... or become root" >&2
  exit 1
}

# A program that runs keeps its old file: copy beside it, then rename.
put() {
  cp "$1" "$2.new"
  mv -f "$2.new" "$2"
}

put "$built/mvar" "$bin/mvar"
put "$built/libTorchShim.so" "$lib/libTorchShim.so"
# For GPUs; built wherever libtorch came with CUDA's half.
[ ! -e "$built/libTorchShimCUDA.so" ] || put "$built/libTorchShimCUDA.so" "$lib/libTorchShimCUDA.so"

# libtorch: a copy of what setup fetched, without what only Python or a GPU needs; a link to the user's own.
rm -rf "$lib/torch" "$lib/nvidia"
if grep -q 'libtorch=$' .torch/installed; then
  mkdir -p "$lib/torch/lib"
  for library in .torch/site/torch/lib/lib*; do
    case $library in
      *python* | *shm*) continue ;;
      *cuda* | *nvshmem*) grep -q device=cuda .torch/installed || continue ;;
    esac
    [ -f "$library" ] && cp "$library" "$lib/torch/lib/"
  done
  cp -R .torch/site/nvidia "$lib/nvidia"
else
  mkdir -p "$lib/torch"
  ln -s "$(readlink .torch/lib)" "$lib/torch/lib"
fi
echo "installed $bin/mvar"
