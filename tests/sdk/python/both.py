"""Asks the backend and asks Herd in front of it, and says whether the client can tell the difference."""

import json
import os
import time
import unittest
import urllib.request

BACKEND = os.environ["BACKEND"]
HERD_URL = os.environ["HERD_URL"]
DIRECT_URL = os.environ["DIRECT_URL"]
MODEL = os.environ["MODEL"]
EMBED_MODEL = os.environ["EMBED_MODEL"]
ON_OLLAMA = BACKEND == "ollama"

MESSAGES = [{"role": "user", "content": "Hello?"}]
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Tells the weather of a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]

# What differs between two equal questions to one server: names of answers, times, and what a cache saved.
CHANGING = {
    "id", "item_id", "response_id", "call_id", "created", "created_at", "completed_at", "expires_at", "modified_at",
    "total_duration", "load_duration", "prompt_eval_duration", "eval_duration", "timings", "cached_tokens",
    "prompt_eval_count",
}  # fmt: skip


def plain(value):
    """`value` as JSON has it, with the type's name in place of whatever changes from answer to answer."""
    if hasattr(value, "model_dump"):
        value = value.model_dump(warnings=False)
    if isinstance(value, dict):
        return {key: type(one).__name__ if key in CHANGING else plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value


def meaning(answer):
    """What an answer in OpenAI's dialect says, whole or in pieces.

    Herd speaks to Ollama in Ollama's own dialect whatever the client speaks, and makes Responses itself, so it says the
    same as Ollama's /v1 with more fields.
    """
    parts = answer if isinstance(answer, list) else [answer]
    parts = [parts[-1]["response"]] if parts[-1].get("response") else parts
    said, calls = {"text": "", "finish": [], "tokens": None}, {}
    for part in parts:
        for choice in part.get("choices") or []:
            message = choice.get("message") or choice.get("delta") or choice
            said["text"] += message.get("content") or message.get("text") or ""
            for place, call in enumerate(message.get("tool_calls") or []):
                known = calls.setdefault(call.get("index", place), ["", ""])
                known[0] = known[0] or call["function"]["name"]
                known[1] += call["function"]["arguments"]
            said["finish"] += [choice["finish_reason"]] if choice["finish_reason"] else []
        for item in part.get("output") or []:
            said["text"] += "".join(content["text"] for content in item.get("content") or [])
        said["finish"] += [part["status"]] if part.get("status") else []
        if usage := part.get("usage"):
            said["tokens"] = usage.get("completion_tokens") or usage.get("output_tokens")
    said["calls"] = [(name, json.loads(text)) for name, text in calls.values()]
    return said


class Both(unittest.TestCase):
    """A test with two clients: `direct` to the backend and `herd` to Herd."""

    maxDiff = None

    def same(self, ask):
        """What `ask` gets through Herd, after making sure that it gets the same directly."""
        direct = plain(ask(self.direct))
        through = plain(ask(self.herd))
        self.assertEqual(direct, through)
        return through

    def same_meaning(self, ask):
        """As `same`, for answers in OpenAI's dialect that Herd makes itself."""
        direct = meaning(plain(ask(self.direct)))
        through = plain(ask(self.herd))
        self.assertEqual(direct, meaning(through))
        return through

    def same_error(self, kind, ask, same_words=True):
        """The error of class `kind` that `ask` raises both ways."""
        with self.assertRaises(kind) as direct:
            ask(self.direct)
        with self.assertRaises(kind) as through:
            ask(self.herd)
        self.assertEqual(direct.exception.status_code, through.exception.status_code)
        if same_words:
            self.assertEqual(str(direct.exception), str(through.exception))
        return through.exception


def wait_until(holds, what):
    """Waits for `holds` to become true: what a server does when a client has left can only be asked for."""
    for _ in range(200):
        if holds():
            return
        time.sleep(0.05)
    raise AssertionError(f"{what} after 10 s")


def fake_state():
    """What the stand-in for Ollama counts, per model."""
    with urllib.request.urlopen(f"{DIRECT_URL}/_fake/state", timeout=10) as answer:
        return json.load(answer)
