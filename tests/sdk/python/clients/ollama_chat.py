"""`ollama`."""

import ollama

from both import HERD_URL, ON_OLLAMA
from wish import Call, Said

NO_CHOICE = "Ollama's API has no such parameter"


class Ollama:
    title = "ollama for Python"
    package = "ollama"
    lacks = {
        "tool call, forced": NO_CHOICE,
        "tool call, forced, streamed": NO_CHOICE,
        "tool call, forced by name": NO_CHOICE,
        "tool call, forbidden": NO_CHOICE,
        "no more than one tool call": NO_CHOICE,
        "image by address": "the package takes files and bytes",
        "several answers at once": NO_CHOICE,
        "earlier answer by its id": NO_CHOICE,
        "embeddings in base64": NO_CHOICE,
        "count of tokens": "the package has no call for it",
    }
    errors = not_found = bad_request = unavailable = stream_errors = ollama.ResponseError
    # Ollama itself says 500 to it.
    bad_request_statuses = (500,) if ON_OLLAMA else (400,)
    hot = {"options": {"temperature": "hot"}}

    def __init__(self, url=HERD_URL):
        self.sdk = ollama.Client(host=url, timeout=60)

    def at(self, url):
        """The same client for another server."""
        return type(self)(url)

    def status(self, error):
        return error.status_code

    def words(self, error):
        """The server's own words."""
        return error.error

    def arguments(self, wish):
        """What `chat` is to be called with."""
        message = {"role": "user", "content": wish.text}
        if wish.image:
            message["images"] = [wish.image]
        messages = [message]
        if wish.results:
            calls = [{"function": {"name": call.name, "arguments": call.arguments}} for call, _ in wish.results]
            messages.append({"role": "assistant", "content": "", "tool_calls": calls})
            messages += [{"role": "tool", "tool_name": call.name, "content": text} for call, text in wish.results]
        options = {"temperature": 0}
        if wish.most:
            options["num_predict"] = wish.most
        if wish.stop:
            options["stop"] = [wish.stop]
        arguments = {"model": wish.model, "messages": messages, "options": options, **wish.raw}
        if wish.tools:
            arguments["tools"] = wish.tools
        if wish.schema or wish.json:
            arguments["format"] = wish.schema or "json"
        if wish.think is not None:
            arguments["think"] = wish.think
        return arguments

    def chat(self, wish):
        if not wish.stream:
            return merged([self.sdk.chat(**self.arguments(wish))], 0)
        records = list(self.sdk.chat(**self.arguments(wish), stream=True))
        return merged(records, sum(1 for record in records if record.message.content))

    def pieces(self, wish):
        for record in self.sdk.chat(**self.arguments(wish), stream=True):
            if record.message.content:
                yield record.message.content

    def log_probabilities(self, wish):
        answer = self.sdk.chat(**self.arguments(wish), logprobs=True, top_logprobs=2)
        return [one.logprob for one in answer.logprobs]

    def embed(self, model, texts):
        return [list(vector) for vector in self.sdk.embed(model, texts).embeddings]

    def models(self):
        return [model.model for model in self.sdk.list().models]


def merged(records, pieces):
    """What `records` say together; only the last is the end."""
    assert [record.done for record in records] == [False] * (len(records) - 1) + [True]
    calls = [call.function for record in records for call in record.message.tool_calls or []]
    last = records[-1]
    return Said(
        text="".join(record.message.content or "" for record in records),
        thinking="".join(record.message.thinking or "" for record in records),
        # The package leaves a call's id out.
        calls=[Call(f"call {place}", call.name, dict(call.arguments)) for place, call in enumerate(calls)],
        finish="tools" if calls and last.done_reason == "stop" else last.done_reason,
        tokens=(last.prompt_eval_count or 0, last.eval_count or 0),
        pieces=pieces,
    )
