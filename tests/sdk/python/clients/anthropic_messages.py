"""`anthropic`, Messages."""

import anthropic

from both import HERD_URL
from wish import Call, Said

FINISH = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tools"}


class Messages:
    title = "anthropic for Python"
    package = "anthropic"
    lacks = {
        "any JSON": "Messages has no such parameter",
        "several answers at once": "Messages has no such parameter",
        "log probabilities": "Messages has no such parameter",
        "earlier answer by its id": "Messages has no such parameter",
        "embeddings": "the package has none",
        "embeddings in base64": "the package has none",
    }
    errors = anthropic.APIStatusError
    not_found = anthropic.NotFoundError
    bad_request = anthropic.BadRequestError
    bad_request_statuses = (400,)
    unavailable = anthropic.ServiceUnavailableError
    stream_errors = anthropic.APIError
    hot = {"temperature": "hot"}

    def __init__(self, url=HERD_URL):
        self.sdk = anthropic.Anthropic(base_url=url, api_key="any", max_retries=0, timeout=60)

    def at(self, url):
        """The same client for another server."""
        return type(self)(url)

    def status(self, error):
        return error.status_code

    def words(self, error):
        """The server's own words."""
        assert error.body["type"] == "error"
        return error.body["error"]["message"]

    def arguments(self, wish):
        """What `messages.create` is to be called with."""
        content = [{"type": "text", "text": wish.text}]
        if wish.image:
            source = (
                {"type": "url", "url": wish.image}
                if "://" in wish.image
                else {"type": "base64", "media_type": "image/png", "data": wish.image}
            )
            content.append({"type": "image", "source": source})
        messages = [{"role": "user", "content": content}]
        if wish.results:
            calls = [
                {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments}
                for call, _ in wish.results
            ]
            results = [
                {"type": "tool_result", "tool_use_id": call.id, "content": text} for call, text in wish.results
            ]
            messages += [{"role": "assistant", "content": calls}, {"role": "user", "content": results}]
        arguments = {"model": wish.model, "messages": messages, "max_tokens": wish.most or 2000}
        # The package has no parameter for it any more, servers have.
        arguments["extra_body"] = {"temperature": 0, **wish.raw}
        if wish.tools:
            functions = [tool["function"] for tool in wish.tools]
            arguments["tools"] = [
                {"name": one["name"], "description": one["description"], "input_schema": one["parameters"]}
                for one in functions
            ]
        choice = {None: "auto", "required": "any", "none": "none"}.get(wish.choice)
        if wish.choice or wish.single:
            arguments["tool_choice"] = {"type": choice} if choice else {"type": "tool", "name": wish.choice}
            if wish.single:
                arguments["tool_choice"]["disable_parallel_tool_use"] = True
        if wish.schema:
            arguments["output_config"] = {"format": {"type": "json_schema", "schema": wish.schema}}
        if wish.think is not None:
            # The test model ends its thinking only when the budget is used up.
            arguments["thinking"] = {"type": "enabled", "budget_tokens": 4} if wish.think else {"type": "disabled"}
        if wish.stop:
            arguments["stop_sequences"] = [wish.stop]
        return arguments

    def chat(self, wish):
        if not wish.stream:
            return read(self.sdk.messages.create(**self.arguments(wish)))
        pieces = []
        with self.sdk.messages.stream(**self.arguments(wish)) as stream:
            pieces.extend(stream.text_stream)
            said = read(stream.get_final_message())
        assert said.text == "".join(pieces)
        said.pieces = len(pieces)
        return said

    def pieces(self, wish):
        with self.sdk.messages.stream(**self.arguments(wish)) as stream:
            yield from stream.text_stream

    def models(self):
        return [model.id for model in self.sdk.models.list()]

    def count(self, wish):
        arguments = self.arguments(wish)
        return self.sdk.messages.count_tokens(model=arguments["model"], messages=arguments["messages"]).input_tokens


def read(answer):
    """What `answer` says."""
    assert (answer.type, answer.role) == ("message", "assistant")
    blocks = {"text": [], "thinking": [], "tool_use": []}
    for block in answer.content:
        blocks[block.type].append(block)
    return Said(
        text="".join(block.text for block in blocks["text"]),
        thinking="".join(block.thinking for block in blocks["thinking"]),
        calls=[Call(block.id, block.name, block.input) for block in blocks["tool_use"]],
        finish=FINISH[answer.stop_reason],
        tokens=(answer.usage.input_tokens, answer.usage.output_tokens),
    )
