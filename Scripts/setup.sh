#!/bin/sh
# Puts libtorch where the build and the programs look for it: .torch/lib and .torch/include.
#
#   DEVICE=cpu      (default) libtorch and the two small libraries that it needs on any machine
#   DEVICE=cuda     the CUDA libraries as well (about 3 GB)
#   LIBTORCH=PATH   a PyTorch 2.11 that is already there: a folder with lib/ and include/
#   PYTHON=python3  the Python whose pip fetches the wheels
#
# Runs again only when one of these changes.
set -eu
cd "$(dirname "$0")/.."

VERSION=2.11.0
CUDA_RUNTIME=13.0
# What TorchShimCUDA is compiled with; a GPU or a CUDA installation is not needed for that.
CUDA_HEADERS="nvidia-cuda-runtime==$CUDA_RUNTIME.* nvidia-cuda-crt==$CUDA_RUNTIME.*"
DEVICE=${DEVICE:-cpu}
LIBTORCH=${LIBTORCH:-}
PYTHON=${PYTHON:-python3}

fail() {
  echo "setup: $*" >&2
  exit 1
}

# System packages ---------------------------------------------------------------------------------------------------

missing_packages() {
  command -v pkg-config >/dev/null || echo pkg-config
  command -v clang++ >/dev/null || command -v c++ >/dev/null || echo g++
  if command -v pkg-config >/dev/null; then
    pkg-config --exists spng || echo libspng-dev
    pkg-config --exists libturbojpeg || echo libturbojpeg0-dev
    pkg-config --exists libwebpdemux || echo libwebp-dev
    pkg-config --exists libexif || echo libexif-dev
    pkg-config --exists libcrypto || echo libssl-dev
    pkg-config --exists libarchive || echo libarchive-dev
    pkg-config --exists libzip || echo libzip-dev
  else
    echo libspng-dev libturbojpeg0-dev libwebp-dev libexif-dev libssl-dev libarchive-dev libzip-dev
  fi
  # For training on several processes. Everything else builds and works without it, so it is not asked of
  # those who cannot install it.
  [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || [ -e /usr/include/gloo/config.h ] || echo libgloo-dev
  [ -n "$LIBTORCH" ] || "$PYTHON" -m pip --version >/dev/null 2>&1 || echo python3-pip
}

install_missing_packages() {
  packages=$(missing_packages | tr '\n' ' ')
  [ -n "$packages" ] || return 0
  install="apt-get install --yes --no-install-recommends $packages"
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || fail "these system packages are missing: ${packages}
setup: install them, as root, with:  $install"
  echo "setup: installing $packages"
  { apt-get update -qq && $install -qq >/dev/null; } || fail "apt-get could not install $packages"
}

# libtorch ----------------------------------------------------------------------------------------------------------

install_wheels() {
  staging=.torch/site.$$
  rm -rf .torch/site.*
  mkdir -p "$staging"
  trap 'rm -rf "$staging"' EXIT INT TERM
  if [ "$DEVICE" = cuda ]; then
    echo "setup: fetching libtorch $VERSION with CUDA (about 3 GB)"
    set -- "torch==$VERSION"
  else
    echo "setup: fetching libtorch $VERSION (about 0.6 GB)"
    set -- --no-deps "torch==$VERSION" "nvidia-cuda-cupti==$CUDA_RUNTIME.*"
  fi
  "$PYTHON" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-compile --only-binary=:all: \
    --target "$staging" "$@" $CUDA_HEADERS ||
    fail "pip could not fetch torch $VERSION; is this machine online, and is $PYTHON one of 3.10 to 3.14?"
  rm -rf .torch/site
  mv "$staging" .torch/site
  trap - EXIT INT TERM
  link_torch site/torch
}

use_existing() {
  [ -e "$LIBTORCH/lib/libtorch_cpu.so" ] || [ -e "$LIBTORCH/lib/libtorch_cpu.dylib" ] ||
    fail "LIBTORCH=$LIBTORCH has no lib/libtorch_cpu; name the folder that holds lib/ and include/ (in a Python environment: .../site-packages/torch)"
  grep -q "TORCH_VERSION \"$VERSION" "$LIBTORCH/include/torch/version.h" 2>/dev/null ||
    fail "LIBTORCH=$LIBTORCH is not PyTorch $VERSION with its headers; leave LIBTORCH out to have it fetched"
  link_torch "$(cd "$LIBTORCH" && pwd)"
  [ -e "$LIBTORCH/lib/libtorch_cuda.so" ] || return 0
  rm -rf .torch/site
  "$PYTHON" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps \
    --target .torch/site $CUDA_HEADERS || echo "setup: without CUDA's headers; generation on a GPU will be slower" >&2
}

link_torch() {
  ln -sfn "$1/lib" .torch/lib
  ln -sfn "$1/include" .torch/include
  ln -sfn site/nvidia/cu13/include .torch/cuda
}

wanted="version=$VERSION device=$DEVICE libtorch=$LIBTORCH headers=cuda"
case $DEVICE in cpu | cuda) ;; *) fail "DEVICE=$DEVICE is unknown; use cpu or cuda" ;; esac
install_missing_packages
installed=$(cat .torch/installed 2>/dev/null || true)
# What was set up for CUDA serves the CPU too.
if [ "$installed" = "$wanted" ] || [ "$installed" = "version=$VERSION device=cuda libtorch=$LIBTORCH headers=cuda" ]; then
  exit 0
fi
mkdir -p .torch
if [ -n "$LIBTORCH" ]; then use_existing; else install_wheels; fi
echo "$wanted" >.torch/installed
