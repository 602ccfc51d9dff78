#!/usr/bin/env python3
"""Small tokenizers of every kind and option that tokenizer.json can describe and we support, trained on a few lines.

    pip install tokenizers
    python scripts/goldens/tokenizer_variants.py DIRECTORY     writes NAME.tokenizer.json files for check_tokenizers.py
"""
import json
import pathlib
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from tokenizer_texts import CODE, LANGUAGES  # noqa: E402

SPACE = "\u2581"
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def train(model, pre_tokenizer, normalizer, trainer):
    tokenizer = Tokenizer(model)
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.train_from_iterator([line for text in (LANGUAGES + CODE) * 2 for line in text.split("\n")], trainer)
    return tokenizer


def llama_bpe(byte_fallback=True, fuse_unk=True):
    """BPE as converted from SentencePiece: Prepend and Replace, byte fallback."""
    trainer = trainers.BpeTrainer(vocab_size=1400, special_tokens=["<unk>", "<s>", "</s>"] + BYTES, show_progress=False, limit_alphabet=180)
    spaced = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    tokenizer = train(models.BPE(unk_token="<unk>"), pre_tokenizers.Metaspace(replacement=SPACE), None, trainer)
    content = json.loads(tokenizer.to_str())
    content["model"].update(byte_fallback=byte_fallback, fuse_unk=fuse_unk)
    content["added_tokens"] = content["added_tokens"][:3]  # the bytes are no added tokens
    if not byte_fallback:
        content["model"]["vocab"] = {k: v for k, v in content["model"]["vocab"].items() if k not in BYTES}
    tokenizer = Tokenizer.from_str(json.dumps(content))
    tokenizer.pre_tokenizer, tokenizer.normalizer = None, spaced
    tokenizer.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    return tokenizer


def unigram(byte_fallback=False):
    special = ["<unk>", "<s>", "</s>"] + (BYTES if byte_fallback else [])
    trainer = trainers.UnigramTrainer(vocab_size=900, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer = train(models.Unigram(), pre_tokenizers.Metaspace(replacement=SPACE), None, trainer)
    content = json.loads(tokenizer.to_str())
    content["model"]["byte_fallback"] = byte_fallback
    content["added_tokens"] = content["added_tokens"][:3]
    if byte_fallback:  # so that there are unknown characters
        content["model"]["vocab"] = [e for e in content["model"]["vocab"] if len(e[0]) != 1 or ord(e[0]) < 0x3000]
    tokenizer = Tokenizer.from_str(json.dumps(content))
    tokenizer.decoder = (decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()]) if byte_fallback
                         else decoders.Metaspace())
    return tokenizer


def byte_level():
    trainer = trainers.BpeTrainer(vocab_size=900, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer = train(models.BPE(), pre_tokenizers.ByteLevel(add_prefix_space=False), None, trainer)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    return tokenizer


def character_bpe():
    """BPE over characters without any byte spelling, an unknown token, a decoder with word ends."""
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=["<unk>"], show_progress=False, limit_alphabet=150)
    return train(models.BPE(unk_token="<unk>"), pre_tokenizers.Whitespace(), None, trainer)


def variant(base, **parts):
    tokenizer = Tokenizer.from_str(base.to_str())
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    return tokenizer


def with_tokens(base, tokens, **parts):
    tokenizer = variant(base, **parts)
    for token in tokens:
        (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])
    return tokenizer


def pre_tokenizer_variants(spelled, characters):
    byte = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    parts = {
        "whitespace": pre_tokenizers.Whitespace(), "whitespace_split": pre_tokenizers.WhitespaceSplit(),
        "punctuation": pre_tokenizers.Punctuation(), "punctuation_removed": pre_tokenizers.Punctuation("removed"),
        "punctuation_previous": pre_tokenizers.Punctuation("merged_with_previous"),
        "punctuation_next": pre_tokenizers.Punctuation("merged_with_next"), "punctuation_contiguous": pre_tokenizers.Punctuation("contiguous"),
        "digits": pre_tokenizers.Digits(False), "digits_individual": pre_tokenizers.Digits(True), "delimiter": pre_tokenizers.CharDelimiterSplit("e"),
    }
    for behavior in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"):
        for invert in (False, True):
            parts[f"split_{behavior}_{invert}"] = pre_tokenizers.Split(Regex(r"[aeiou]|\p{P}+|\s"), behavior, invert)
    for name, part in parts.items():
        yield f"pre_{name}", variant(characters, pre_tokenizer=part)
        yield f"pre_{name}_bytes", variant(spelled, pre_tokenizer=pre_tokenizers.Sequence([part, byte]))
    yield "pre_byte_prefix", variant(spelled, pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True))
    yield "pre_bytes_then_split", variant(spelled, pre_tokenizer=pre_tokenizers.Sequence([byte, pre_tokenizers.Split("\u0120", "merged_with_next")]))


EXPRESSIONS = [
    r"\p{N}{1,3}+|\p{L}+?|.", r"(?:ab|a)b?|\s+$", r"^\s+|\S+$", r"[^\W\d_]+|[\p{L}&&[^a-z]]+", r"\p{Lu}?\p{Ll}++|\P{L}", r"[\p{^L}-]+", r"(?i:straße|kelvin|s)",
    r"\w+(?=\s)|\W", r"a{2}|b{2,}|c{,3}|d", r"[\u0400-\u04ff]+|[\x{4e00}-\x{9fff}]+", r"\A\w+|\w+\z|\d", r"[\]a]|[a\]b-]+|-", r"\p{Han}+|\p{M}", r"(a|e|i)?[nrst]{1,2}|\s", r"(?=\p{Lu})|\d*",
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'ll)?|\S", r"[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
]


def normalizer_variants(characters, spelled):
    parts = {
        "nfc": normalizers.NFC(), "nfd": normalizers.NFD(), "nfkc": normalizers.NFKC(), "nfkd": normalizers.NFKD(), "lowercase": normalizers.Lowercase(),
        "strip_accents": normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]), "accents_only": normalizers.StripAccents(),
        "strip": normalizers.Strip(), "strip_left": normalizers.Strip(True, False), "prepend": normalizers.Prepend("x "),
        "replace": normalizers.Replace("e", "<e>"), "replace_regex": normalizers.Replace(Regex(" {2,}"), SPACE),
        "sequence": normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace("ss", "\u00df")]),
    }
    for name, part in parts.items():
        yield f"norm_{name}", variant(spelled, normalizer=part)
    yield "norm_byte_level", variant(spelled, normalizer=normalizers.ByteLevel(), pre_tokenizer=None)


def decoder_variants(llama, uni, characters):
    yield "dec_none", variant(llama, decoder=None)
    fallback, fuse = decoders.ByteFallback(), decoders.Fuse()
    yield "dec_fallback_metaspace", variant(llama, decoder=decoders.Sequence([fallback, decoders.Metaspace()]))
    yield "dec_metaspace_first", variant(uni, decoder=decoders.Metaspace(prepend_scheme="first"))
    yield "dec_metaspace_never", variant(uni, decoder=decoders.Metaspace(prepend_scheme="never"))
    yield "dec_strip_each", variant(llama, decoder=decoders.Sequence([decoders.Replace(SPACE, " "), fallback, decoders.Strip(" ", 1, 0)]))
    yield "dec_strip_two", variant(llama, decoder=decoders.Sequence([decoders.Replace(SPACE, " "), fallback, fuse, decoders.Strip(" ", 2, 0)]))
    yield "dec_replace_after_fuse", variant(llama, decoder=decoders.Sequence([fallback, fuse, decoders.Replace(SPACE, " "), decoders.Replace("  ", "--")]))
    yield "dec_replace_regex", variant(llama, decoder=decoders.Sequence([fallback, fuse, decoders.Replace(Regex("[" + SPACE + "n]+"), "_")]))
    yield "dec_bpe", variant(characters, decoder=decoders.BPEDecoder(suffix="e"))


def added_token_variants(spelled, llama):
    for normalized in (False, True):
        tokens = [AddedToken("MASK", lstrip=True, single_word=True, normalized=normalized), AddedToken("[SEP]", rstrip=True, normalized=normalized),
                  AddedToken("[SEPARATOR]", normalized=normalized), AddedToken("<\u00e9>", lstrip=True, rstrip=True, normalized=normalized),
                  AddedToken("<|pad|>", normalized=normalized, special=True), AddedToken("  ", normalized=normalized), AddedToken("the", single_word=True, normalized=normalized)]
        yield f"added_{normalized}", with_tokens(spelled, tokens, normalizer=normalizers.NFD())
        # Special tokens that normalizing changes are not skipped by `tokenizers` 0.23 when it decodes; we skip them.
        yield f"added_llama_{normalized}", with_tokens(llama, [t for t in tokens if not (t.special and normalized)])
    yield "added_metaspace_first", with_tokens(llama, [AddedToken("<x>", special=True)], normalizer=None, pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme="first", split=False))


def repeated_merges(base):
    content = json.loads(base.to_str())
    merges = content["model"]["merges"]
    content["model"]["merges"] = merges[:200] + merges[:100:-1] + merges[200:]
    return Tokenizer.from_str(json.dumps(content))


def variants():
    """(name, tokenizer) of all kinds."""
    spelled, llama, uni, characters = byte_level(), llama_bpe(), unigram(), character_bpe()
    yield "byte_level", spelled
    yield "llama", llama
    yield "llama_no_bytes", llama_bpe(byte_fallback=False)
    yield "llama_no_bytes_no_fuse", llama_bpe(byte_fallback=False, fuse_unk=False)
    yield "unigram", uni
    yield "unigram_bytes", unigram(byte_fallback=True)
    yield "repeated_merges", repeated_merges(spelled)
    for scheme in ("always", "first", "never"):
        for split in (True, False):
            yield f"metaspace_{scheme}_{split}", variant(uni, pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split))
    yield "characters", characters
    yield from pre_tokenizer_variants(spelled, characters)
    byte = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    for index, expression in enumerate(EXPRESSIONS):
        yield f"expression_{index}", variant(spelled, pre_tokenizer=pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(expression), "isolated"), byte]))
    yield from normalizer_variants(characters, spelled)
    yield from decoder_variants(llama, uni, characters)
    yield from added_token_variants(spelled, llama)


def main():
    directory = pathlib.Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    for name, tokenizer in variants():
        (directory / f"{name}.tokenizer.json").write_text(tokenizer.to_str())


if __name__ == "__main__":
    main()
