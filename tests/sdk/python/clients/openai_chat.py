"""`openai`, Chat Completions."""

import base64
import struct

import openai

from both import HERD_URL
from wish import Call, Said

FINISH = {"stop": "stop", "length": "length", "tool_calls": "tools"}


class OpenAI:
    """What both of its APIs have in common."""

    package = "openai"
    errors = openai.APIStatusError
    not_found = openai.NotFoundError
    bad_request = openai.BadRequestError
    bad_request_statuses = (400,)
    unavailable = openai.InternalServerError
    stream_errors = openai.APIError
    hot = {"extra_body": {"temperature": "hot"}}

    def __init__(self, url=HERD_URL):
        self.sdk = openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0, timeout=60)

    def at(self, url):
        """The same client for another server."""
        return type(self)(url)

    def status(self, error):
        return error.status_code

    def words(self, error):
        """The server's own words."""
        return error.body["message"]

    def models(self):
        return [model.id for model in self.sdk.models.list()]

    def embed(self, model, texts, packed=False):
        if not packed:
            return [one.embedding for one in self.sdk.embeddings.create(model=model, input=texts, encoding_format="float").data]
        raw = self.sdk.embeddings.create(model=model, input=texts, encoding_format="base64").data
        return [unpacked(one.embedding) for one in raw]


def unpacked(text):
    """Base64 of little-endian 32-bit floats, as numbers."""
    data = base64.b64decode(text)
    return list(struct.unpack(f"<{len(data) // 4}f", data))


class Chat(OpenAI):
    title = "openai for Python, Chat Completions"
    lacks = {
        "earlier answer by its id": "Chat Completions has no such parameter",
        "count of tokens": "the package has no call for it",
    }

    def arguments(self, wish):
        """What `chat.completions.create` is to be called with."""
        content = wish.text
        if wish.image:
            address = wish.image if "://" in wish.image else f"data:image/png;base64,{wish.image}"
            content = [{"type": "text", "text": wish.text}, {"type": "image_url", "image_url": {"url": address}}]
        messages = [{"role": "user", "content": content}]
        if wish.results:
            calls = [call for call, _ in wish.results]
            messages.append({"role": "assistant", "content": None, "tool_calls": [call.written() for call in calls]})
            messages += [{"role": "tool", "tool_call_id": call.id, "content": text} for call, text in wish.results]
        arguments = {"model": wish.model, "messages": messages, "temperature": 0, **wish.raw}
        if wish.tools:
            arguments["tools"] = wish.tools
        if wish.choice in ("required", "none"):
            arguments["tool_choice"] = wish.choice
        elif wish.choice:
            arguments["tool_choice"] = {"type": "function", "function": {"name": wish.choice}}
        if wish.single:
            arguments["parallel_tool_calls"] = False
        if wish.schema:
            form = {"name": "person", "schema": wish.schema, "strict": True}
            arguments["response_format"] = {"type": "json_schema", "json_schema": form}
        if wish.json:
            arguments["response_format"] = {"type": "json_object"}
        if wish.think is not None:
            arguments["reasoning_effort"] = "high" if wish.think else "none"
        if wish.most:
            arguments["max_completion_tokens"] = wish.most
        if wish.stop:
            arguments["stop"] = [wish.stop]
        return arguments

    def chat(self, wish):
        if wish.stream:
            return merged(self.chunks(wish))
        answer = self.sdk.chat.completions.create(**self.arguments(wish))
        choice = answer.choices[0]
        return Said(
            text=choice.message.content or "",
            thinking=thoughts(choice.message),
            calls=[Call(one.id, one.function.name, one.function.arguments) for one in choice.message.tool_calls or []],
            finish=FINISH[choice.finish_reason],
            tokens=(answer.usage.prompt_tokens, answer.usage.completion_tokens),
        )

    def chunks(self, wish):
        return self.sdk.chat.completions.create(
            **self.arguments(wish), stream=True, stream_options={"include_usage": True}
        )

    def pieces(self, wish):
        with self.chunks(wish) as stream:
            for chunk in stream:
                if chunk.choices and chunk.choices[0].delta.content:
                    yield chunk.choices[0].delta.content

    def several(self, wish, count):
        answer = self.sdk.chat.completions.create(**self.arguments(wish), n=count)
        return [choice.message.content for choice in answer.choices]

    def log_probabilities(self, wish):
        answer = self.sdk.chat.completions.create(**self.arguments(wish), logprobs=True, top_logprobs=2)
        return [one.logprob for one in answer.choices[0].logprobs.content]


def thoughts(message):
    """Thinking is no field of OpenAI's; servers have two names for it."""
    extra = message.model_extra or {}
    return extra.get("reasoning_content") or extra.get("reasoning") or ""


def merged(chunks):
    """One answer out of the pieces of its stream, as its readers put it together."""
    said, calls, roles = Said(), {}, []
    for chunk in chunks:
        assert not said.tokens, "a chunk after the counts"
        if chunk.usage:
            assert chunk.choices == []
            said.tokens = (chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
        for choice in chunk.choices:
            assert not said.finish, "a choice after its end"
            if choice.delta.role:
                roles.append(choice.delta.role)
            if choice.delta.content:
                said.pieces += 1
                said.text += choice.delta.content
            said.thinking += thoughts(choice.delta)
            for piece in choice.delta.tool_calls or []:
                known = calls.setdefault(piece.index, ["", "", ""])
                known[0] = known[0] or piece.id or ""
                known[1] = known[1] or piece.function.name or ""
                known[2] += piece.function.arguments or ""
            if choice.finish_reason:
                said.finish = FINISH[choice.finish_reason]
    assert set(roles) == {"assistant"}, roles
    said.calls = [Call(*calls[index]) for index in sorted(calls)]
    return said
