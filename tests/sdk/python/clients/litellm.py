"""`litellm` with each of the providers that an address of one's own makes sense for."""

import os

# Otherwise it fetches a list of prices at start.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
import openai

from both import HERD_URL, ON_OLLAMA
from wish import Call, Said

FINISH = {"stop": "stop", "length": "length", "tool_calls": "tools"}
litellm.suppress_debug_info = True
litellm.telemetry = False
litellm.drop_params = False


class LiteLLM:
    """One provider."""

    package = "litellm"
    lacks = {
        "earlier answer by its id": "completion() has no such parameter",
        "embeddings in base64": "the package asks for what it likes",
        "list of models": "the package has no call for it",
        "count of tokens": "the package counts by itself",
    }
    errors = openai.APIStatusError
    not_found = litellm.NotFoundError
    bad_request = litellm.BadRequestError
    bad_request_statuses = (400,)
    unavailable = litellm.ServiceUnavailableError
    unavailable_status = 503
    stream_errors = Exception
    hot = {"temperature": "hot"}
    path = ""

    def __init__(self, url=HERD_URL):
        self.url = url

    def at(self, url):
        """The same client for another server."""
        return type(self)(url)

    def status(self, error):
        return error.status_code

    def words(self, error):
        """The server's own words, and the package's around them."""
        return str(error)

    def arguments(self, wish):
        """What `completion` is to be called with."""
        content = wish.text
        if wish.image:
            address = wish.image if "://" in wish.image else f"data:image/png;base64,{wish.image}"
            content = [{"type": "text", "text": wish.text}, {"type": "image_url", "image_url": {"url": address}}]
        messages = [{"role": "user", "content": content}]
        if wish.results:
            calls = [call for call, _ in wish.results]
            messages.append({"role": "assistant", "content": None, "tool_calls": [call.written() for call in calls]})
            messages += [
                {"role": "tool", "tool_call_id": call.id, "name": call.name, "content": text}
                for call, text in wish.results
            ]
        arguments = {"model": f"{self.provider}/{wish.model}", "messages": messages, "temperature": 0, **wish.raw}
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
            arguments |= self.thinking(wish.think)
        if wish.most or self.provider == "anthropic":
            arguments["max_tokens"] = wish.most or 2000
        if wish.stop:
            arguments["stop"] = [wish.stop]
        return arguments

    def complete(self, wish, **more):
        return litellm.completion(
            **self.arguments(wish),
            api_base=self.url + self.path,
            api_key="any",
            max_retries=0,
            num_retries=0,
            timeout=60,
            **more,
        )

    def thinking(self, wanted):
        return {"reasoning_effort": "high" if wanted else "none", "allowed_openai_params": ["reasoning_effort"]}

    def chat(self, wish):
        pieces = 0
        if wish.stream:
            chunks = list(self.complete(wish, stream=True, stream_options={"include_usage": True}))
            pieces = sum(1 for chunk in chunks if chunk.choices and chunk.choices[0].delta.content)
            answer = litellm.stream_chunk_builder(chunks)
        else:
            answer = self.complete(wish)
        choice = answer.choices[0]
        calls = [
            Call(call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls or []
        ]
        return Said(
            text=choice.message.content or "",
            thinking=getattr(choice.message, "reasoning_content", None) or "",
            calls=calls,
            finish=FINISH[choice.finish_reason],
            tokens=(answer.usage.prompt_tokens, answer.usage.completion_tokens),
            pieces=pieces,
        )

    def pieces(self, wish):
        stream = self.complete(wish, stream=True)
        try:
            for chunk in stream:
                if chunk.choices and chunk.choices[0].delta.content:
                    yield chunk.choices[0].delta.content
        finally:
            # The package's own stream cannot be closed, but what it reads from can; where not, it ends with its last user.
            if close := getattr(stream.completion_stream, "close", None):
                close()

    def several(self, wish, count):
        return self.complete(wish, n=count).choices

    def log_probabilities(self, wish):
        return self.complete(wish, logprobs=True, top_logprobs=2).choices[0].logprobs.content

    def embed(self, model, texts):
        answer = litellm.embedding(
            model=f"{self.embedding_provider}/{model}", input=texts, api_base=self.url + self.path, api_key="any"
        )
        return [one["embedding"] for one in answer.data]


class OpenAI(LiteLLM):
    title = "litellm for Python, provider openai"
    provider = embedding_provider = "openai"
    path = "/v1"


NO_CHOICE = "Ollama's API has no such parameter"


class Ollama(LiteLLM):
    title = "litellm for Python, provider ollama_chat"
    provider = "ollama_chat"
    embedding_provider = "ollama"
    lacks = LiteLLM.lacks | {
        "tool call, forced": NO_CHOICE,
        "tool call, forced, streamed": NO_CHOICE,
        "tool call, forced by name": NO_CHOICE,
        "tool call, forbidden": NO_CHOICE,
        "no more than one tool call": NO_CHOICE,
        "image by address": NO_CHOICE,
        "several answers at once": NO_CHOICE,
        "log probabilities": "the package does not know that Ollama's API has it",
    }
    # Ollama itself says 500 to it.
    bad_request = litellm.InternalServerError if ON_OLLAMA else litellm.BadRequestError
    bad_request_statuses = (500,) if ON_OLLAMA else (400,)


class Anthropic(LiteLLM):
    title = "litellm for Python, provider anthropic"
    provider = "anthropic"
    lacks = LiteLLM.lacks | {
        "embeddings": "Anthropic's API has none",
        "any JSON": "Anthropic's API has no such parameter",
        "several answers at once": "Anthropic's API has no such parameter",
        "log probabilities": "Anthropic's API has no such parameter",
        "image by address": "the package fetches it by itself",
    }
    # The package takes any 5xx of Anthropic's for the same.
    unavailable = litellm.InternalServerError
    unavailable_status = 500

    def thinking(self, wanted):
        # The test model ends its thinking only when the budget is used up.
        thinking = {"type": "enabled", "budget_tokens": 4} if wanted else {"type": "disabled"}
        return {"thinking": thinking, "allowed_openai_params": ["thinking"]}


CLIENTS = [OpenAI, Ollama, Anthropic]
