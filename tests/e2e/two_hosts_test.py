"""tp 2 x pp 2 across two test hosts gives the tokens that one rank gives.    two_hosts_test.py TRIREME"""

import json
import os
import subprocess
import sys

import cli
import hosts
from kill_test import Pair

_PROMPTS = [{"prompt": text, "max_new_tokens": 24} for text in ("hello", "the quick brown fox", "a b c d e f g", "1 2 3")]


def main():
    trireme = os.path.abspath(sys.argv[1])
    if not hosts.available():
        print("skipped: two test hosts need root and namespaces")
        return 77
    arguments = ["--temperature", "0.8", "--seed", "7", "--n", "2", "--device", "cpu"]
    expected = cli.generate(trireme, ["--model", cli.model("tiny-llama"), *arguments], _PROMPTS)
    with hosts.TwoHosts() as (a, b, agent):
        pair = Pair(a, b, agent, trireme)
        command = [*pair.prefix, pair.trireme, "generate", "--output-format", "json", "--model", pair.model, *arguments, "-tp", "2", "-pp", "2", "--prompts", "-", *pair.launch]
        done = subprocess.run(command, input="".join(json.dumps(line) + "\n" for line in _PROMPTS), capture_output=True, text=True,
                              timeout=120, check=False)
        if done.returncode != 0:
            print(f"exit code {done.returncode}\n{done.stderr[-3000:]}")
            return 1
    got = [json.loads(line) for line in done.stdout.splitlines()]
    for one, two in zip(expected, got, strict=True):
        tokens = [[output["token_ids"] for output in line["outputs"]] for line in (one, two)]
        if tokens[0] != tokens[1]:
            print(f"prompt {one['prompt']!r}: one rank {tokens[0]}, two hosts {tokens[1]}")
            return 1
    print(f"{len(got)} prompts x 2 choices: the same tokens on one rank and on tp 2 x pp 2 across two hosts")
    return 0


if __name__ == "__main__":
    sys.exit(main())
