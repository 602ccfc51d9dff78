#!/usr/bin/env python3
"""Compares our tokenizers with PyPI's `tokenizers` on many texts: ids (without and with the special tokens that a
post-processor adds, and with special tokens of the text as plain text) and decoded bytes (all, and without special
tokens). Prints one line per file and the first differences; status 1 when there are any.

    pip install tokenizers; ninja -C build-cpu tokenizer_tool
    python scripts/goldens/check_tokenizers.py [--texts 10000] [--long] PATH ...

PATH: a tokenizer.json, a directory, or a zip or wheel that holds such files (zipped once more or not).
"""
import argparse
import pathlib
import struct
import subprocess
import sys
import tempfile
import time

from tokenizers import Tokenizer

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from list_tokenizer_parts import tokenizer_files  # noqa: E402
from tokenizer_texts import long_lines, texts  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]


def expected(tokenizer, text):
    plain = tokenizer.encode(text, add_special_tokens=False).ids
    full = tokenizer.encode(text, add_special_tokens=True).ids
    tokenizer.encode_special_tokens = True
    unparsed = tokenizer.encode(text, add_special_tokens=False).ids
    tokenizer.encode_special_tokens = False
    return (plain, full, unparsed, tokenizer.decode(full, skip_special_tokens=False).encode(),
            tokenizer.decode(full, skip_special_tokens=True).encode())


class Answers:
    """Reads what tokenizer_tool wrote."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self):
        (value,) = struct.unpack_from("<I", self.data, self.at)
        self.at += 4
        return value

    def ids(self):
        count = self.number()
        self.at += 4 * count
        return list(struct.unpack_from(f"<{count}i", self.data, self.at - 4 * count))

    def blob(self):
        count = self.number()
        self.at += count
        return self.data[self.at - count : self.at]

    def next(self):
        return self.ids(), self.ids(), self.ids(), self.blob(), self.blob()


def run_tool(command, inputs):
    blob = b"".join(struct.pack("<I", len(t)) + t for t in (text.encode() for text in inputs))
    done = subprocess.run(command, input=blob, capture_output=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.decode() or f"tokenizer_tool ended with status {done.returncode}")
    return Answers(done.stdout)


def check(tool, content, options):
    tokenizer = Tokenizer.from_str(content.decode())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    special = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    inputs = texts(options.texts, special, options.seed) + (long_lines() if options.long else [])
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        file.write(content)
        file.flush()
        start = time.monotonic()
        answers = run_tool([tool, file.name] + (["--pre", options.pre] if options.pre else []), inputs)
        seconds = time.monotonic() - start
    names = ("ids", "ids with special tokens", "ids, special tokens as text", "decoded", "decoded without special")
    differences = []
    for text in inputs:
        for name, ours, theirs in zip(names, answers.next(), expected(tokenizer, text)):
            if options.pre and name not in (names[0], names[2]):  # post-processors are not part of GGUF
                continue
            if ours != theirs:
                differences.append((name, text[:200], ours[:40], theirs[:40]))
                break
    return len(inputs), differences, seconds


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("paths", nargs="+")
    arguments.add_argument("--texts", type=int, default=10000)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--long", action="store_true", help="also lines of a megabyte (slow in `tokenizers`)")
    arguments.add_argument("--tool", default=str(ROOT / "build-cpu" / "tests" / "tokenizer_tool"))
    arguments.add_argument("--pre", help="put the files into GGUF's fields with this tokenizer.ggml.pre")
    arguments.add_argument("--show", type=int, default=3, help="differences to print per file")
    options = arguments.parse_args()
    files = failed = total = 0
    for argument in options.paths:
        for name, content in tokenizer_files(pathlib.Path(argument)):
            files += 1
            try:
                count, differences, seconds = check(options.tool, content, options)
            except RuntimeError as error:
                failed += 1
                print(f"{name}: {error}", flush=True)
                continue
            total += count
            failed += bool(differences)
            print(f"{name}: {count} texts, {len(differences)} differ, {seconds:.1f} s", flush=True)
            for difference in differences[: options.show]:
                print("   ", *map(repr, difference), sep="\n      ")
    print(f"{files} files, {total} texts, {failed} files with differences")
    return 1 if failed or not files else 0


if __name__ == "__main__":
    sys.exit(main())
