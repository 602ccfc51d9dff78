#!/usr/bin/env python3
"""Counts what real tokenizer files are made of: every model, normalizer, pre-tokenizer, post-processor and decoder,
with its options, and the flags of added tokens. Reads tokenizer.json files, and zips and wheels that hold them.

    python scripts/goldens/list_tokenizer_parts.py FILE_OR_DIRECTORY ...
"""
import collections
import io
import json
import pathlib
import sys
import zipfile

PART_LISTS = ("normalizers", "pretokenizers", "processors", "decoders")


def tokenizer_files(path):
    """(name, bytes) of every tokenizer.json in a file, a directory, or a zip (zips inside zips too)."""
    if path.is_dir():
        for child in sorted(path.rglob("*")):
            if child.name.endswith("tokenizer.json") or child.suffix in (".zip", ".whl"):
                yield from tokenizer_files(child)
    elif path.suffix in (".zip", ".whl"):
        yield from files_in_zip(str(path.with_suffix("")), path.read_bytes())
    else:
        yield str(path), path.read_bytes()


def files_in_zip(where, content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith("tokenizer.json"):
                yield f"{where}/{name}", archive.read(name)
            elif name.endswith("tokenizer.json.zip"):
                yield from files_in_zip(f"{where}/{pathlib.PurePath(name).parent}", archive.read(name))


def count_part(counts, kind, part):
    if part is None:
        counts[kind, "null"] += 1
        return
    lists = [key for key in PART_LISTS if key in part]
    if lists:
        counts[kind, part["type"] + " of " + ", ".join(child["type"] for child in part[lists[0]])] += 1
        for child in part[lists[0]]:
            count_part(counts, kind, child)
        return
    shown = {key: value for key, value in part.items() if key not in ("special_tokens", "single", "pair")}
    if "precompiled_charsmap" in shown:
        shown["precompiled_charsmap"] = f"{len(part['precompiled_charsmap'])} characters"
    counts[kind, json.dumps(shown, ensure_ascii=True)] += 1


def count_tokenizer(counts, root):
    model = root["model"]
    options = {key: value for key, value in model.items() if key not in ("vocab", "merges")}
    counts["model", json.dumps(options)] += 1
    if model.get("merges"):
        counts["merges", type(model["merges"][0]).__name__] += 1
    for kind in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        count_part(counts, kind, root.get(kind))
    for flags in {tuple((key, token[key]) for key in ("special", "normalized", "lstrip", "rstrip", "single_word"))
                  for token in root.get("added_tokens", [])}:
        counts["added tokens (files)", ", ".join(key for key, value in flags if value) or "no flag"] += 1
    for key in ("truncation", "padding"):
        counts[key, "null" if root.get(key) is None else "set"] += 1


def main():
    counts, files = collections.Counter(), 0
    for argument in sys.argv[1:]:
        for _, content in tokenizer_files(pathlib.Path(argument)):
            count_tokenizer(counts, json.loads(content))
            files += 1
    print(f"{files} files")
    for (kind, text), count in sorted(counts.items(), key=lambda item: (item[0][0], -item[1], item[0][1])):
        print(f"{kind:22s} {count:4d}  {text}")


if __name__ == "__main__":
    main()
