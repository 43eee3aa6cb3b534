"""The `openai` package against Herd."""

import asyncio
import os

import openai
from pydantic import BaseModel

from both import DIRECT_URL, EMBED_MODEL, HERD_URL, MESSAGES, MODEL, ON_OLLAMA, TOOLS, Both, plain

# Ollama's own /v1 ignores `tool_choice`; there a model that always calls takes its place.
CALL = {"model": os.environ["CALL_MODEL"]} if ON_OLLAMA else {"model": MODEL, "tool_choice": "required"}


class Person(BaseModel):
    name: str
    age: int


def client(url):
    return openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0, timeout=60)


def words(stream):
    """A chat stream as the list of its chunks."""
    return [plain(chunk) for chunk in stream]


class OpenAI(Both):
    direct = client(DIRECT_URL)
    herd = client(HERD_URL)

    def same_chat(self, ask):
        """Only a server that speaks the client's dialect has its answers passed on as they are."""
        return self.same_meaning(ask) if ON_OLLAMA else self.same(ask)

    def test_models(self):
        direct = {model.id for model in self.direct.models.list()}
        herd = {model.id for model in self.herd.models.list()}
        # There Herd has several servers behind it, of which one is asked directly.
        self.assertLessEqual(direct, herd)
        if ON_OLLAMA:
            self.assertEqual(direct, herd)
        self.assertIn(MODEL, {name.removesuffix(":latest") for name in herd})

    def test_chat(self):
        answer = self.same_chat(lambda c: c.chat.completions.create(model=MODEL, messages=MESSAGES, temperature=0))
        self.assertEqual(answer["choices"][0]["finish_reason"], "stop")
        self.assertTrue(answer["choices"][0]["message"]["content"])
        self.assertGreater(answer["usage"]["completion_tokens"], 0)

    def test_chat_stream_with_usage(self):
        chunks = self.same_chat(
            lambda c: words(
                c.chat.completions.create(
                    model=MODEL, messages=MESSAGES, temperature=0, stream=True, stream_options={"include_usage": True}
                )
            )
        )
        self.assertGreater(len(chunks), 3)
        self.assertEqual(chunks[-1]["choices"], [])
        self.assertGreater(chunks[-1]["usage"]["completion_tokens"], 0)

    def test_chat_stream_without_usage(self):
        chunks = self.same_chat(
            lambda c: words(c.chat.completions.create(model=MODEL, messages=MESSAGES, temperature=0, stream=True))
        )
        self.assertTrue(all(chunk["choices"] for chunk in chunks))
        self.assertFalse(any(chunk.get("usage") for chunk in chunks))

    def test_cut_by_length(self):
        answer = self.same_chat(
            lambda c: c.chat.completions.create(model=MODEL, messages=MESSAGES, temperature=0, max_tokens=3)
        )
        self.assertEqual(answer["choices"][0]["finish_reason"], "length")

    def test_tool_call(self):
        answer = self.same_chat(lambda c: c.chat.completions.create(messages=MESSAGES, tools=TOOLS, temperature=0, **CALL))
        self.assertEqual(answer["choices"][0]["finish_reason"], "tool_calls")
        self.assertEqual(answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"], "weather")

    def test_streamed_tool_call(self):
        chunks = self.same_chat(
            lambda c: words(
                c.chat.completions.create(messages=MESSAGES, tools=TOOLS, temperature=0, stream=True, **CALL)
            )
        )
        calls = [call for chunk in chunks for choice in chunk["choices"] for call in choice["delta"]["tool_calls"] or []]
        self.assertEqual(calls[0]["function"]["name"], "weather")

    def test_structured_output(self):
        answer = self.same_chat(
            lambda c: c.chat.completions.parse(model=MODEL, messages=MESSAGES, temperature=0, response_format=Person)
        )
        self.assertIsInstance(answer["choices"][0]["message"]["parsed"]["age"], int)

    def test_completion(self):
        answer = self.same_chat(lambda c: c.completions.create(model=MODEL, prompt="Hello", temperature=0, max_tokens=20))
        self.assertTrue(answer["choices"][0]["text"])

    def test_completion_stream(self):
        chunks = self.same_chat(
            lambda c: words(c.completions.create(model=MODEL, prompt="Hello", temperature=0, max_tokens=20, stream=True))
        )
        self.assertGreater(len(chunks), 3)

    def test_response(self):
        answer = self.same_meaning(lambda c: c.responses.create(model=MODEL, input="Hello?", temperature=0))
        self.assertEqual(answer["status"], "completed")

    def test_response_stream(self):
        events = self.same_meaning(lambda c: words(c.responses.create(model=MODEL, input="Hello?", temperature=0, stream=True)))
        self.assertEqual(events[-1]["type"], "response.completed")

    def test_embeddings_in_base64_and_as_numbers(self):
        packed = self.same(lambda c: c.embeddings.create(model=EMBED_MODEL, input=["one", "two"]))
        numbers = self.same(
            lambda c: c.embeddings.create(model=EMBED_MODEL, input=["one", "two"], encoding_format="float")
        )
        self.assertEqual(len(packed["data"]), 2)
        for one, other in zip(packed["data"][0]["embedding"], numbers["data"][0]["embedding"], strict=True):
            self.assertAlmostEqual(one, other, places=5)

    def test_answers_say_who_answered(self):
        raw = self.herd.chat.completions.with_raw_response.create(model=MODEL, messages=MESSAGES)
        self.assertTrue(raw.headers["x-fleet-request-id"])
        self.assertTrue(raw.headers["x-fleet-backend"])
        self.assertEqual(raw.parse().choices[0].finish_reason, "stop")

    def test_unknown_model(self):
        def ask(c):
            return c.chat.completions.create(model="no-such-model", messages=MESSAGES, temperature=0)

        if ON_OLLAMA:
            error = self.same_error(openai.NotFoundError, ask, same_words=False)
            self.assertIn("no-such-model", str(error))
        else:  # a llama-server with one model answers to any name; Herd does not
            with self.assertRaises(openai.NotFoundError):
                ask(self.herd)

    def test_bad_request(self):
        self.same_error(
            openai.BadRequestError if ON_OLLAMA else openai.APIStatusError,
            lambda c: c.chat.completions.create(model=MODEL, messages=MESSAGES, extra_body={"temperature": "hot"}),
            same_words=not ON_OLLAMA,
        )

    def test_many_at_once(self):
        async def ask(url):
            async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0, timeout=60) as c:
                asked = [c.chat.completions.create(model=MODEL, messages=MESSAGES, temperature=0) for _ in range(8)]
                return [answer.choices[0].message.content for answer in await asyncio.gather(*asked)]

        self.assertEqual(asyncio.run(ask(DIRECT_URL)), asyncio.run(ask(HERD_URL)))
