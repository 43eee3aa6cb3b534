"""The `ollama` package against Herd."""

import json
import os

import ollama

from both import DIRECT_URL, EMBED_MODEL, HERD_URL, MESSAGES, MODEL, SCHEMA, TOOLS, Both, plain, wait_until

STEADY = {"temperature": 0}


def client(url):
    return ollama.Client(host=url, timeout=60)


def names(models):
    return {model["model"].removesuffix(":latest") for model in models}


class Ollama(Both):
    direct = client(DIRECT_URL)
    herd = client(HERD_URL)

    def test_list(self):
        def models(c):
            return sorted(plain(c.list())["models"], key=lambda model: model["model"])

        self.assertIn(MODEL, names(self.same(models)))

    def test_show(self):
        self.assertIn("completion", self.same(lambda c: c.show(MODEL))["capabilities"])

    def test_ps(self):
        self.herd.generate(MODEL, prompt="Hello", options=STEADY)

        def running(c):
            return sorted(plain(c.ps())["models"], key=lambda model: model["model"])

        # Herd looks at its backends from time to time.
        wait_until(lambda: running(self.direct) == running(self.herd), "Herd shows other loaded models than there are")
        self.assertIn(MODEL, names(running(self.herd)))

    def test_chat(self):
        answer = self.same(lambda c: c.chat(MODEL, MESSAGES, options=STEADY))
        self.assertTrue(answer["message"]["content"])
        self.assertEqual(answer["done_reason"], "stop")

    def test_chat_stream(self):
        records = self.same(lambda c: list(c.chat(MODEL, MESSAGES, options=STEADY, stream=True)))
        self.assertGreater(len(records), 3)
        self.assertTrue(records[-1]["done"])
        self.assertGreater(records[-1]["eval_count"], 0)

    def test_tool_call(self):
        model = os.environ["CALL_MODEL"]
        answer = self.same(lambda c: c.chat(model, MESSAGES, tools=TOOLS, options=STEADY))
        self.assertEqual(answer["message"]["tool_calls"][0]["function"]["name"], "weather")
        self.same(lambda c: list(c.chat(model, MESSAGES, tools=TOOLS, options=STEADY, stream=True)))

    def test_format(self):
        answer = self.same(lambda c: c.chat(MODEL, MESSAGES, format=SCHEMA, options=STEADY))
        self.assertIsInstance(json.loads(answer["message"]["content"]), dict)

    def test_think(self):
        answer = self.same(lambda c: c.chat(os.environ["THINK_MODEL"], MESSAGES, think=True, options=STEADY))
        self.assertTrue(answer["message"]["thinking"])

    def test_generate(self):
        self.assertTrue(self.same(lambda c: c.generate(MODEL, prompt="Hello", options=STEADY))["response"])
        self.same(lambda c: list(c.generate(MODEL, prompt="Hello", options=STEADY, stream=True)))

    def test_embed(self):
        answer = self.same(lambda c: c.embed(EMBED_MODEL, ["one", "two"]))
        self.assertEqual(len(answer["embeddings"]), 2)
        self.same(lambda c: c.embeddings(EMBED_MODEL, "one"))

    def test_unknown_model(self):
        error = self.same_error(ollama.ResponseError, lambda c: c.chat("no-such-model", MESSAGES))
        self.assertEqual(error.status_code, 404)
        self.assertIn("not found", error.error)
        self.same_error(ollama.ResponseError, lambda c: list(c.generate("no-such-model", prompt="x", stream=True)))

    def test_bad_option(self):
        self.same_error(
            ollama.ResponseError, lambda c: c.chat(MODEL, MESSAGES, options={"temperature": "hot", "seed": 1})
        )

    def test_load_by_no_messages(self):
        self.assertEqual(self.same(lambda c: c.chat(MODEL, []))["done_reason"], "load")

    def test_unload(self):
        answer = self.same(lambda c: c.generate(MODEL, keep_alive=0))
        self.assertEqual(answer["done_reason"], "unload")

    def test_unload_through_herd_unloads(self):
        self.direct.generate(MODEL, prompt="Hello", options=STEADY)
        self.herd.generate(MODEL, keep_alive=0)
        wait_until(
            lambda: MODEL not in names(plain(self.direct.ps())["models"]), "the model is still loaded after keep_alive 0"
        )
