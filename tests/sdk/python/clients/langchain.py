"""`langchain-openai` with both of OpenAI's APIs, and `langchain-ollama`."""

import ollama
import openai
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_ollama import ChatOllama, OllamaEmbeddings
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

from both import HERD_URL, ON_OLLAMA
from wish import Call, Said

FINISH = {"stop": "stop", "length": "length", "tool_calls": "tools", "completed": "stop"}


class LangChain:
    """What its chat models have in common."""

    lacks = {
        "earlier answer by its id": "the package sends the whole conversation",
        "embeddings in base64": "the package asks for what it likes",
        "list of models": "the package has no call for it",
        "count of tokens": "the package counts by itself",
        "several answers at once": "the API has no such parameter",
    }

    def __init__(self, url=HERD_URL):
        self.url = url

    def at(self, url):
        """The same client for another server."""
        return type(self)(url)

    def runnable(self, wish):
        """The chat model with everything that is wished for bound to it."""
        model = self.model(wish)
        if wish.tools:
            extra = {"parallel_tool_calls": False} if wish.single else {}
            if wish.choice:
                extra["tool_choice"] = wish.choice
            return model.bind_tools(wish.tools, **extra)
        if wish.schema:
            schema = {"title": "person", "description": "A person.", **wish.schema}
            return model.with_structured_output(schema, method="json_schema", include_raw=True)
        return model

    def messages(self, wish):
        content = wish.text
        if wish.image:
            address = wish.image if "://" in wish.image else f"data:image/png;base64,{wish.image}"
            content = [{"type": "text", "text": wish.text}, {"type": "image_url", "image_url": {"url": address}}]
        messages = [HumanMessage(content)]
        if wish.results:
            calls = [{"id": call.id, "name": call.name, "args": call.arguments} for call, _ in wish.results]
            messages.append(AIMessage("", tool_calls=calls))
            messages += [ToolMessage(text, tool_call_id=call.id, name=call.name) for call, text in wish.results]
        return messages

    def chat(self, wish):
        runnable, messages = self.runnable(wish), self.messages(wish)
        if wish.schema:
            answer = runnable.invoke(messages) if not wish.stream else list(runnable.stream(messages))
            if wish.stream:
                answer = {key: value for part in answer for key, value in part.items()}
            assert isinstance(answer["parsed"], dict), answer
            return self.read(answer["raw"])
        if not wish.stream:
            return self.read(runnable.invoke(messages))
        chunks = list(runnable.stream(messages))
        whole = chunks[0]
        for chunk in chunks[1:]:
            whole += chunk
        said = self.read(whole)
        said.pieces = sum(1 for chunk in chunks if chunk.text)
        return said

    def pieces(self, wish):
        for chunk in self.runnable(wish).stream(self.messages(wish)):
            if chunk.text:
                yield chunk.text

    def read(self, message):
        """What `message` says."""
        told = message.response_metadata
        calls = [Call(call["id"], call["name"], call["args"]) for call in message.tool_calls]
        if "incomplete_details" in told and told["incomplete_details"]:
            finish = {"max_output_tokens": "length"}[told["incomplete_details"]["reason"]]
        else:
            finish = FINISH[told.get("finish_reason") or told.get("done_reason") or told["status"]]
        usage = message.usage_metadata
        return Said(
            text=message.text,
            thinking=self.thoughts(message),
            calls=calls,
            finish="tools" if calls and finish == "stop" else finish,
            tokens=(usage["input_tokens"], usage["output_tokens"]),
        )

    def log_probabilities(self, wish):
        return self.runnable(wish).bind(logprobs=True, top_logprobs=2).invoke(self.messages(wish)).response_metadata["logprobs"]

    def thoughts(self, message):
        thinking = "".join(
            block.get("reasoning", "") for block in message.content_blocks if block["type"] == "reasoning"
        )
        return thinking or message.additional_kwargs.get("reasoning_content", "")


class Chat(LangChain):
    title = "langchain-openai for Python, Chat Completions"
    package = "langchain-openai"
    responses = False
    lacks = {feature: why for feature, why in LangChain.lacks.items() if feature != "several answers at once"} | {
        "thinking": "the package leaves it out of Chat Completions",
        "thinking, streamed": "the package leaves it out of Chat Completions",
    }
    errors = openai.APIStatusError
    not_found = openai.NotFoundError
    bad_request = openai.BadRequestError
    bad_request_statuses = (400,)
    unavailable = openai.InternalServerError
    # It makes a `ValueError` of `response.failed`.
    stream_errors = (openai.APIError, ValueError)
    hot = {"extra_body": {"temperature": "hot"}}

    def status(self, error):
        return error.status_code

    def words(self, error):
        """The server's own words."""
        return error.body["message"]

    def several(self, wish, count):
        (answers,) = self.runnable(wish).generate([self.messages(wish)], n=count).generations
        return answers

    def log_probabilities(self, wish):
        return super().log_probabilities(wish)["content"]

    def model(self, wish):
        settings = {"temperature": 0, "stream_usage": True, **wish.raw}
        if wish.json:
            settings["model_kwargs"] = (
                {"text": {"format": {"type": "json_object"}}}
                if self.responses
                else {"response_format": {"type": "json_object"}}
            )
        if wish.think is not None:
            effort = "high" if wish.think else "none"
            settings |= {"reasoning": {"effort": effort}} if self.responses else {"reasoning_effort": effort}
        if wish.most:
            settings["max_tokens"] = wish.most
        if wish.stop:
            settings["stop"] = [wish.stop]
        return ChatOpenAI(
            model=wish.model,
            base_url=f"{self.url}/v1",
            api_key="any",
            max_retries=0,
            timeout=60,
            use_responses_api=self.responses,
            **settings,
        )

    def embed(self, model, texts):
        # Otherwise it would ask for a tokenizer on the network and send tokens.
        embeddings = OpenAIEmbeddings(
            model=model, base_url=f"{self.url}/v1", api_key="any", check_embedding_ctx_length=False
        )
        return embeddings.embed_documents(texts)


class Responses(Chat):
    title = "langchain-openai for Python, Responses"
    responses = True
    lacks = LangChain.lacks | {"cut by a stop sequence": "Responses has no such parameter"}

    def log_probabilities(self, wish):
        asked = {"top_logprobs": 2, "include": ["message.output_text.logprobs"]}
        return self.runnable(wish).invoke(self.messages(wish), **asked).content[0]["logprobs"]


class Ollama(LangChain):
    title = "langchain-ollama for Python"
    package = "langchain-ollama"
    lacks = LangChain.lacks | {
        "tool call, forced": "Ollama's API has no such parameter",
        "tool call, forced, streamed": "Ollama's API has no such parameter",
        "tool call, forced by name": "Ollama's API has no such parameter",
        "tool call, forbidden": "Ollama's API has no such parameter",
        "no more than one tool call": "Ollama's API has no such parameter",
        "image by address": "the package takes files and bytes",
        "wrong type of a parameter": "the package checks it first",
    }
    errors = not_found = unavailable = stream_errors = ollama.ResponseError

    def status(self, error):
        return error.status_code

    def words(self, error):
        """The server's own words."""
        return error.error

    def model(self, wish):
        settings = {"temperature": 0}
        if wish.json:
            settings["format"] = "json"
        if wish.most:
            settings["num_predict"] = wish.most
        if wish.stop:
            settings["stop"] = [wish.stop]
        return ChatOllama(model=wish.model, base_url=self.url, reasoning=wish.think, **settings)

    def embed(self, model, texts):
        return OllamaEmbeddings(model=model, base_url=self.url).embed_documents(texts)


CLIENTS = [Chat, Responses, Ollama]
