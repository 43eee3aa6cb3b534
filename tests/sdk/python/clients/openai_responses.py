"""`openai`, Responses."""

import json

from openai.types.responses import ResponseCompletedEvent, ResponseIncompleteEvent

from clients.openai_chat import OpenAI
from wish import Call, Said


class Responses(OpenAI):
    title = "openai for Python, Responses"
    lacks = {
        "cut by a stop sequence": "Responses has no such parameter",
        "several answers at once": "Responses has no such parameter",
        "count of tokens": "the package has no call for it",
    }

    def arguments(self, wish):
        """What `responses.create` is to be called with."""
        content = [{"type": "input_text", "text": wish.text}]
        if wish.image:
            address = wish.image if "://" in wish.image else f"data:image/png;base64,{wish.image}"
            content.append({"type": "input_image", "image_url": address, "detail": "auto"})
        items = [{"role": "user", "content": content}]
        for call, _ in wish.results:
            arguments = json.dumps(call.arguments)
            items.append({"type": "function_call", "call_id": call.id, "name": call.name, "arguments": arguments})
        items += [{"type": "function_call_output", "call_id": call.id, "output": text} for call, text in wish.results]
        arguments = {"model": wish.model, "input": items, "temperature": 0, **wish.raw}
        if wish.tools:
            arguments["tools"] = [{"type": "function", **tool["function"], "strict": False} for tool in wish.tools]
        if wish.choice in ("required", "none"):
            arguments["tool_choice"] = wish.choice
        elif wish.choice:
            arguments["tool_choice"] = {"type": "function", "name": wish.choice}
        if wish.single:
            arguments["parallel_tool_calls"] = False
        if wish.schema:
            form = {"type": "json_schema", "name": "person", "schema": wish.schema, "strict": True}
            arguments["text"] = {"format": form}
        if wish.json:
            arguments["text"] = {"format": {"type": "json_object"}}
        if wish.think is not None:
            arguments["reasoning"] = {"effort": "high" if wish.think else "none"}
        if wish.most:
            arguments["max_output_tokens"] = wish.most
        return arguments

    def chat(self, wish):
        if not wish.stream:
            return read(self.sdk.responses.create(**self.arguments(wish)))
        pieces, thinking, last = [], [], None
        # The package's own reader keeps a copy of the answer and fails on an event that does not fit it.
        with self.sdk.responses.stream(**self.arguments(wish)) as stream:
            for number, event in enumerate(stream):
                assert event.sequence_number == number, (event.sequence_number, number)
                if event.type == "response.output_text.delta":
                    pieces.append(event.delta)
                if event.type in ("response.reasoning_text.delta", "response.reasoning_summary_text.delta"):
                    thinking.append(event.delta)
                last = event
        assert isinstance(last, (ResponseCompletedEvent, ResponseIncompleteEvent)), last
        said = read(last.response)
        assert said.text == "".join(pieces), (said.text, pieces)
        assert said.thinking == "".join(thinking), (said.thinking, thinking)
        said.pieces = len(pieces)
        return said

    def pieces(self, wish):
        with self.sdk.responses.create(**self.arguments(wish), stream=True) as stream:
            for event in stream:
                if event.type == "response.failed":
                    raise self.stream_errors(event.response.error.message, request=None, body=None)
                if event.type == "response.output_text.delta":
                    yield event.delta

    def log_probabilities(self, wish):
        answer = self.sdk.responses.create(
            **self.arguments(wish), top_logprobs=2, include=["message.output_text.logprobs"]
        )
        return [one.logprob for one in answer.output[0].content[0].logprobs]

    def go_on(self, wish):
        """How many tokens were read for an answer and for one that goes on from it."""
        before = self.sdk.responses.create(**self.arguments(wish))
        after = self.sdk.responses.create(**self.arguments(wish), previous_response_id=before.id)
        return before.usage.input_tokens, after.usage.input_tokens


def read(answer):
    """What `answer` says."""
    thinking, calls = "", []
    for item in answer.output:
        if item.type == "reasoning":
            thinking += "".join(part.text for part in [*(item.content or []), *(item.summary if not item.content else [])])
        elif item.type == "function_call":
            calls.append(Call(item.call_id, item.name, item.arguments))
    if answer.status == "incomplete":
        finish = {"max_output_tokens": "length"}[answer.incomplete_details.reason]
    else:
        assert answer.status == "completed", answer.status
        finish = "tools" if calls else "stop"
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    tokens = (answer.usage.input_tokens, answer.usage.output_tokens)
    return Said(text=answer.output_text, thinking=thinking, calls=calls, finish=finish, tokens=tokens)
