#!/usr/bin/env python3
"""Drives every endpoint of a running `trireme serve` with the official openai client, synchronous and asynchronous,
streaming and not, and the rest by plain HTTP. Prints one line per check; exits 1 if one fails.

usage: check_openai_client.py [--url http://127.0.0.1:8000] [--api-key KEY] [--chat | --no-chat]
"""
import argparse
import asyncio
import json
import sys
import traceback
import urllib.error
import urllib.request

import openai

PROMPT = "The capital of France is"
MESSAGES = [{"role": "user", "content": "Say hello in one word."}]
TOOL = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}


class Checks:
    def __init__(self, url, key):
        self.url, self.key = url.rstrip("/"), key
        self.client = openai.OpenAI(base_url=self.url + "/v1", api_key=key, max_retries=0, timeout=120)
        self.asynchronous = openai.AsyncOpenAI(base_url=self.url + "/v1", api_key=key, max_retries=0, timeout=120)
        self.model = self.client.models.list().data[0].id
        self.failed = 0

    def http(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method, headers={
            "Content-Type": "application/json", "Authorization": "Bearer " + self.key})
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def run(self, name, check):
        try:
            result = check()
            if asyncio.iscoroutine(result):
                asyncio.run(result)
            print("ok    ", name)
        except Exception:  # every failure is a finding; the rest still runs
            self.failed += 1
            print("FAILED", name)
            traceback.print_exc()

    # --- completions

    def completion(self):
        answer = self.client.completions.create(model=self.model, prompt=PROMPT, max_tokens=8, temperature=0)
        choice = answer.choices[0]
        assert answer.object == "text_completion" and answer.id.startswith("cmpl-")
        assert choice.finish_reason in ("stop", "length") and choice.text
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
        return choice.text

    def completion_stream_equals_whole(self):
        text, usage = "", None
        for chunk in self.client.completions.create(model=self.model, prompt=PROMPT, max_tokens=8, temperature=0,
                                                    stream=True, stream_options={"include_usage": True}):
            text += "".join(choice.text for choice in chunk.choices)
            usage = chunk.usage or usage
        assert text == self.completion(), text
        assert usage.completion_tokens <= 8

    def several_prompts(self):
        answer = self.client.completions.create(model=self.model, prompt=["One, two,", "A, B,"], n=2, max_tokens=3,
                                                temperature=0)
        assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
        assert answer.choices[0].text == answer.choices[1].text

    def seeds(self):
        texts = {self.client.completions.create(model=self.model, prompt=PROMPT, max_tokens=12, temperature=1,
                                                seed=11).choices[0].text for _ in range(3)}
        assert len(texts) == 1, texts

    def scoring(self):
        ids = json.loads(self.http("POST", "/tokenize", {"prompt": PROMPT})[1])["tokens"]
        for most in (0, 1):
            answer = self.client.completions.create(model=self.model, prompt=[ids], echo=True, logprobs=1, max_tokens=most,
                                                    temperature=0)
            logprobs = answer.choices[0].logprobs
            assert len(logprobs.tokens) == len(ids) + most == len(logprobs.text_offset)
            assert logprobs.token_logprobs[0] is None
            assert all(value <= 0 for value in logprobs.token_logprobs[1:])
            assert all(max(top.values()) >= value - 1e-4
                       for top, value in zip(logprobs.top_logprobs[1:], logprobs.token_logprobs[1:]))

    def stop_and_logprobs(self):
        answer = self.client.completions.create(model=self.model, prompt="1, 2, 3, 4,", max_tokens=20, temperature=0,
                                                stop=[","], logprobs=3)
        choice = answer.choices[0]
        assert "," not in choice.text
        assert len(choice.logprobs.tokens) == answer.usage.completion_tokens

    def extras(self):
        answer = self.client.completions.create(
            model=self.model, prompt=PROMPT, max_tokens=4, extra_body={
                "top_k": 5, "min_p": 0.01, "repetition_penalty": 1.1, "min_tokens": 2, "ignore_eos": True,
                "return_token_ids": True, "skip_special_tokens": False, "cache_salt": "s"})
        assert len(answer.choices[0].token_ids) == 4

    def beams(self):
        answer = self.client.completions.create(model=self.model, prompt=PROMPT, max_tokens=4, n=2,
                                                extra_body={"use_beam_search": True})
        assert len(answer.choices) == 2

    async def async_completions(self):
        async def one(number):
            return await self.asynchronous.completions.create(model=self.model, prompt=f"{number} plus one is",
                                                              max_tokens=4, temperature=0)
        answers = await asyncio.gather(*(one(i) for i in range(8)))
        assert all(answer.usage.completion_tokens > 0 for answer in answers)
        pieces = 0
        async for _ in await self.asynchronous.completions.create(model=self.model, prompt=PROMPT, max_tokens=6,
                                                                  stream=True):
            pieces += 1
        assert pieces > 0
        await self.asynchronous.close()
        self.asynchronous = openai.AsyncOpenAI(base_url=self.url + "/v1", api_key=self.key, max_retries=0, timeout=120)

    def leaving_early(self):
        stream = self.client.completions.create(model=self.model, prompt=PROMPT, max_tokens=100, stream=True,
                                                extra_body={"ignore_eos": True})
        next(iter(stream))
        stream.close()
        for _ in range(50):
            if json.loads(self.http("GET", "/load")[1])["server_load"] == 0:
                return
            asyncio.run(asyncio.sleep(0.1))
        raise AssertionError("a call whose client left is still open")

    # --- chats

    def chat(self):
        answer = self.client.chat.completions.create(model=self.model, messages=MESSAGES, max_tokens=12, temperature=0,
                                                     logprobs=True, top_logprobs=2)
        message = answer.choices[0].message
        assert message.role == "assistant" and answer.object == "chat.completion"
        content = answer.choices[0].logprobs.content
        assert len(content) == answer.usage.completion_tokens and len(content[0].top_logprobs) == 2
        return message.content

    def chat_stream_equals_whole(self):
        text, roles, reasons = "", [], []
        for chunk in self.client.chat.completions.create(model=self.model, messages=MESSAGES, max_tokens=12, temperature=0,
                                                         stream=True):
            for choice in chunk.choices:
                text += choice.delta.content or ""
                roles += [choice.delta.role] if choice.delta.role else []
                reasons += [choice.finish_reason] if choice.finish_reason else []
        assert roles == ["assistant"] and len(reasons) == 1
        assert text == self.chat(), text

    def chat_parts(self):
        self.client.chat.completions.create(model=self.model, max_completion_tokens=2, messages=[
            {"role": "user", "content": [{"type": "text", "text": "Hello"}]}])

    def chat_tools(self):
        for stream in (False, True):
            answer = self.client.chat.completions.create(model=self.model, messages=MESSAGES, max_tokens=16, tools=[TOOL],
                                                         tool_choice="auto", stream=stream)
            for part in answer if stream else [answer]:
                assert part.id.startswith("chatcmpl-")

    async def async_chat(self):
        answer = await self.asynchronous.chat.completions.create(model=self.model, messages=MESSAGES, max_tokens=4)
        assert answer.choices
        await self.asynchronous.close()

    # --- errors and the rest

    def errors(self):
        for error, status, fields in (
                (openai.NotFoundError, 404, {"model": "no-such-model"}),
                (openai.BadRequestError, 400, {"top_p": 2.0}),
                (openai.BadRequestError, 400, {"max_tokens": 100_000_000}),
                (openai.BadRequestError, 400, {"suffix": "x"}),
                (openai.BadRequestError, 400, {"extra_body": {"guided_json": {"type": "object"}}})):
            try:
                self.client.completions.create(**{"model": self.model, "prompt": PROMPT, "max_tokens": 2, **fields})
            except error as raised:
                assert raised.status_code == status and raised.body["message"] and raised.body["type"], raised.body
            else:
                raise AssertionError(f"{fields} was accepted")

    def models(self):
        assert self.client.models.retrieve(self.model).id == self.model

    def tokens(self):
        tokens = json.loads(self.http("POST", "/tokenize", {"prompt": PROMPT, "return_token_strs": True})[1])
        assert tokens["count"] == len(tokens["tokens"]) == len(tokens["token_strs"])
        assert PROMPT in json.loads(self.http("POST", "/detokenize", {"tokens": tokens["tokens"]})[1])["prompt"]

    def health(self):
        for path in ("/health", "/health/live", "/health/ready", "/ping", "/version", "/load", "/info"):
            assert self.http("GET", path)[0] == 200, path
        assert self.http("POST", "/ping")[0] == 200

    def tgi(self):
        status, text = self.http("POST", "/generate", {"inputs": PROMPT, "parameters": {"max_new_tokens": 4, "details": True}})
        answer = json.loads(text)
        assert status == 200 and answer["details"]["generated_tokens"] <= 4, text
        status, text = self.http("POST", "/generate_stream", {"inputs": PROMPT, "parameters": {"max_new_tokens": 4}})
        events = [json.loads(line[5:]) for line in text.splitlines() if line.startswith("data:")]
        assert events[-1]["generated_text"] == answer["generated_text"], text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--api-key", default="none")
    parser.add_argument("--chat", action=argparse.BooleanOptionalAction, default=True, help="the model has a chat template")
    arguments = parser.parse_args()
    checks = Checks(arguments.url, arguments.api_key)
    names = ["completion", "completion_stream_equals_whole", "several_prompts", "seeds", "scoring", "stop_and_logprobs",
             "extras", "beams", "async_completions", "leaving_early", "errors", "models", "tokens", "health", "tgi"]
    if arguments.chat:
        names += ["chat", "chat_stream_equals_whole", "chat_parts", "chat_tools", "async_chat"]
    for name in names:
        checks.run(name, getattr(checks, name))
    print(f"{len(names) - checks.failed} of {len(names)} checks passed")
    sys.exit(1 if checks.failed else 0)


if __name__ == "__main__":
    main()
