#!/usr/bin/env python3
"""Holds our chat templates against Transformers' own on real templates, and on random snippets against Jinja.

    pip install transformers jinja2 gguf
    python scripts/goldens/check_chat_templates.py --tool build-cpu/tests/template_tool [--files FOLDER ...]
        [--gguf MODEL.gguf] [--random 5000] [--seed 1]

FOLDER is searched for chat templates: *.jinja, tokenizer_config.json, also inside *.zip and *.whl. The templates that
Transformers' package carries as strings, and the committed ones, are always among them. Each is rendered for every
conversation of chat_template_cases.py; the texts must be equal, or both must be errors. Then every text of a
conversation gets a word that no template holds: wherever that word comes out it must be marked as a client's.
"""
import argparse
import ast
import io
import json
import pathlib
import subprocess
import sys
import warnings
import zipfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import chat_template_cases  # noqa: E402
import random_templates  # noqa: E402

import jinja2  # noqa: E402
import transformers  # noqa: E402

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "tests" / "text" / "golden" / "templates"
CANARY = b"c4n4ry"
NOT_KWARGS = {"messages", "tools", "documents", "add_generation_prompt", "continue_final_message"}


def templates_in_config(name, text):
    value = json.loads(text).get("chat_template")
    if isinstance(value, str):
        yield name, value
    for entry in value if isinstance(value, list) else []:
        yield f"{name}#{entry['name']}", entry["template"]


def templates_in_file(name, data):
    if name.endswith((".zip", ".whl")):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.namelist():
                if member.endswith((".zip", ".jinja", "tokenizer_config.json", "chat_template.json")):
                    yield from templates_in_file(f"{name}/{member}", archive.read(member))
    elif name.endswith(".jinja"):
        yield name, data.decode()
    elif name.endswith(("tokenizer_config.json", "chat_template.json")):
        yield from templates_in_config(name, data.decode())


def templates_in_folder(folder):
    for path in sorted(pathlib.Path(folder).rglob("*")):
        if path.is_file() and path.suffix in (".zip", ".whl", ".jinja", ".json"):
            yield from templates_in_file(str(path.relative_to(folder)), path.read_bytes())


def templates_in_transformers():
    """String constants that look like a template and compile."""
    root = pathlib.Path(transformers.__file__).parent
    for path in sorted(root.rglob("*.py")):
        source = path.read_text()
        if "{%" not in source or "messages" not in source:
            continue
        for node in ast.walk(ast.parse(source)):
            if not (isinstance(node, ast.Constant) and isinstance(node.value, str) and "{%" in node.value and "message" in node.value):
                continue
            try:
                chat_template_cases._compile_jinja_template(node.value)
            except jinja2.TemplateError:
                continue
            yield f"transformers/{path.relative_to(root)}:{node.lineno}", node.value


def templates_in_gguf(path):
    from gguf import GGUFReader

    for key, field in GGUFReader(path).fields.items():
        if key.startswith("tokenizer.chat_template") and isinstance(field.contents(), str):
            yield f"{pathlib.Path(path).name}/{key}", field.contents()


def ours(tool, requests):
    lines = "".join(json.dumps(r) + "\n" for r in requests)
    done = subprocess.run([tool], input=lines.encode(), stdout=subprocess.PIPE, check=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    if len(answers) != len(requests):
        raise SystemExit(f"{len(answers)} answers to {len(requests)} requests")
    return answers


def request_of(template, conversation):
    request = {"template": template, **{k: v for k, v in conversation.items() if k in NOT_KWARGS}}
    request["variables"] = chat_template_cases.TOKENS
    request["template_kwargs"] = {k: v for k, v in conversation.items() if k not in NOT_KWARGS and k not in chat_template_cases.TOKENS}
    return request


def difference(expected, answer):
    if "output" in expected and "output" in answer:
        return None if expected["output"] == answer["output"] else "the texts differ"
    if "output" in expected:
        return "only ours fails"
    return "only theirs fails" if "output" in answer else None


def marks_are_wrong(answer):
    text, spans = answer["output"].encode(), answer["untrusted"]
    if any(b >= e for b, e in spans) or any(a[1] >= b[0] for a, b in zip(spans, spans[1:])):
        return True
    words = [at for at in range(len(text)) if text.startswith(CANARY, at)]
    return any(not any(b <= at and at + len(CANARY) <= e for b, e in spans) for at in words)


def with_canary(value, key=None):
    """Every text of a client with a word that no template holds."""
    if isinstance(value, str):
        return value if key in ("role", "type", "id", "tool_call_id") else value + CANARY.decode()
    if isinstance(value, list):
        return [with_canary(v, key) for v in value]
    return {k: with_canary(v, k) for k, v in value.items()} if isinstance(value, dict) else value


def check_templates(options):
    found = {}
    sources = [templates_in_folder(GOLDEN), templates_in_transformers()]
    sources += [templates_in_folder(folder) for folder in options.files]
    sources += [templates_in_gguf(options.gguf)] if options.gguf else []
    for source in sources:
        for name, template in source:
            found.setdefault(template, name)
    names = list(found.values())
    pairs = [(t, c) for t in found for c in chat_template_cases.CONVERSATIONS]
    expected = [chat_template_cases.apply_chat_template(t, c) for t, c in pairs]
    answers = ours(options.tool, [request_of(t, c) for t, c in pairs])
    bad = 0
    for (template, conversation), theirs, mine in zip(pairs, expected, answers):
        problem = difference(theirs, mine)
        if problem:
            bad += 1
            if bad <= options.show:
                print(f"--- {found[template]}: {problem}\n{json.dumps(conversation)[:600]}\ntheirs: {theirs}\nours:   {mine}")
    texts = sum("output" in e for e in expected)
    print(f"{len(names)} templates x {len(chat_template_cases.CONVERSATIONS)} conversations: {texts} texts, "
          f"{len(expected) - texts} errors, {bad} differences")
    marked = [c for c in chat_template_cases.CONVERSATIONS if "continue_final_message" not in c]
    requests = [request_of(t, with_canary({k: v for k, v in c.items() if k not in chat_template_cases.TOKENS})) for t in found for c in marked]
    rendered = [(r, a) for r, a in zip(requests, ours(options.tool, requests)) if "output" in a]
    wrong = [(r, a) for r, a in rendered if marks_are_wrong(a)]
    for request, answer in wrong[:options.show]:
        print(f"--- {found[request['template']]}: a client's text is not marked\n{answer}")
    print(f"{len(rendered)} marked renderings, {len(wrong)} with unmarked text of a client")
    return bad + len(wrong)


def check_random(options):
    snippets = random_templates.snippets(options.random, options.seed)
    data = random_templates.DATA
    expected = [chat_template_cases.render(s, {"tools": None, "documents": None, "messages": None, "add_generation_prompt": False, **data}) for s in snippets]
    answers = ours(options.tool, [{"template": s, "variables": data} for s in snippets])
    compared = [(s, e, a) for s, e, a in zip(snippets, expected, answers) if not random_templates.is_beyond_us(s, e, a)]
    bad = sorted(((s, e, a) for s, e, a in compared if difference(e, a)), key=lambda case: len(case[0]))
    for snippet, theirs, mine in bad[:options.show]:
        print(f"--- {difference(theirs, mine)}\n{snippet}\ntheirs: {theirs}\nours:   {mine}")
    print(f"{len(compared)} random snippets ({sum('output' in e for _, e, _ in compared)} texts): {len(bad)} differences")
    return len(bad)


def main():
    warnings.simplefilter("ignore")  # what Python says of generated code
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--tool", required=True)
    arguments.add_argument("--files", nargs="*", default=[])
    arguments.add_argument("--gguf")
    arguments.add_argument("--random", type=int, default=0)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--show", type=int, default=10)
    options = arguments.parse_args()
    bad = check_templates(options) if not options.random else 0
    bad += check_random(options) if options.random else 0
    raise SystemExit(bool(bad))


if __name__ == "__main__":
    main()
