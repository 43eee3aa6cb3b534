"""Clients at every door of a fleet, asking for the models of all its machines.

`DOORS` names the machines (`name=url,…`), `MODELS` what each of them has (`model=name,…`). Closes as `run.py` does.
"""

import os
import sys
import unittest

import anthropic
import ollama
import openai

DOORS = dict(pair.split("=", 1) for pair in os.environ["DOORS"].split(","))
MODELS = dict(pair.split("=", 1) for pair in os.environ["MODELS"].split(","))
MESSAGES = [{"role": "user", "content": "Hello?"}]
TOOL = {
    "name": "weather",
    "description": "Tells the weather of a city.",
    "schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
LIMITS = {"max_retries": 0, "timeout": 60}


# Each door with each model that says something, and the machine that is to answer.
EVERYWHERE = [(url, *pair) for url in DOORS.values() for pair in MODELS.items() if not pair[0].endswith("-call")]


class Fleet(unittest.TestCase):
    def test_all_models_are_listed_at_every_door(self):
        for url in DOORS.values():
            names = {model.id.removesuffix(":latest") for model in openai.OpenAI(base_url=f"{url}/v1", api_key="any").models.list()}
            self.assertEqual(names, set(MODELS))
            names = {model.model.removesuffix(":latest") for model in ollama.Client(url).list().models}
            self.assertEqual(names, set(MODELS))

    def test_openai_chat(self):
        for url, model, machine in EVERYWHERE:
            sdk = openai.OpenAI(base_url=f"{url}/v1", api_key="any", **LIMITS)
            raw = sdk.chat.completions.with_raw_response.create(model=model, messages=MESSAGES, temperature=0)
            self.assertEqual(raw.headers["x-fleet-node"], machine)
            whole = raw.parse().choices[0].message.content
            pieces = sdk.chat.completions.create(model=model, messages=MESSAGES, temperature=0, stream=True)
            streamed = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
            self.assertTrue(whole)
            self.assertEqual(whole, streamed)

    def test_openai_responses(self):
        for url, model, _ in EVERYWHERE:
            sdk = openai.OpenAI(base_url=f"{url}/v1", api_key="any", **LIMITS)
            answer = sdk.responses.create(model=model, input="Hello?", temperature=0)
            self.assertEqual(answer.status, "completed")
            # Its door has kept it, whoever answered.
            kept = sdk.responses.retrieve(answer.id)
            self.assertEqual(kept.output_text, answer.output_text)
            events = [event.type for event in sdk.responses.create(model=model, input="Hello?", stream=True)]
            self.assertEqual((events[0], events[-1]), ("response.created", "response.completed"))

    def test_anthropic(self):
        for url, model, machine in EVERYWHERE:
            sdk = anthropic.Anthropic(base_url=url, api_key="any", **LIMITS)
            asked = {"model": model, "max_tokens": 64, "messages": MESSAGES, "extra_body": {"temperature": 0}}
            raw = sdk.messages.with_raw_response.create(**asked)
            self.assertEqual(raw.headers["x-fleet-node"], machine)
            with sdk.messages.stream(**asked) as stream:
                streamed = stream.get_final_message()
            self.assertEqual(raw.parse().content[0].text, streamed.content[0].text)

    def test_ollama(self):
        for url, model, _ in EVERYWHERE:
            sdk = ollama.Client(url, timeout=60)
            whole = sdk.chat(model, MESSAGES, options={"temperature": 0})
            pieces = list(sdk.chat(model, MESSAGES, options={"temperature": 0}, stream=True))
            self.assertTrue(pieces[-1].done)
            self.assertEqual(whole.message.content, "".join(piece.message.content or "" for piece in pieces))

    def test_tools(self):
        (model,) = [model for model in MODELS if model.endswith("-call")]
        for url in DOORS.values():
            sdk = openai.OpenAI(base_url=f"{url}/v1", api_key="any", **LIMITS)
            function = {"name": TOOL["name"], "description": TOOL["description"], "parameters": TOOL["schema"]}
            answer = sdk.chat.completions.create(
                model=model, messages=MESSAGES, tools=[{"type": "function", "function": function}], temperature=0
            )
            self.assertEqual(answer.choices[0].message.tool_calls[0].function.name, "weather")
            sdk = anthropic.Anthropic(base_url=url, api_key="any", **LIMITS)
            tool = {"name": TOOL["name"], "description": TOOL["description"], "input_schema": TOOL["schema"]}
            answer = sdk.messages.create(model=model, max_tokens=64, messages=MESSAGES, tools=[tool])
            self.assertIn("weather", [part.name for part in answer.content if part.type == "tool_use"])

    def test_errors(self):
        for url, model, _ in EVERYWHERE:
            sdk = openai.OpenAI(base_url=f"{url}/v1", api_key="any", **LIMITS)
            with self.assertRaises(openai.NotFoundError):
                sdk.chat.completions.create(model=f"no-{model}", messages=MESSAGES)
            with self.assertRaises(openai.BadRequestError):
                sdk.chat.completions.create(model=model, messages=MESSAGES, extra_body={"temperature": "hot"})
            with self.assertRaises(anthropic.NotFoundError):
                anthropic.Anthropic(base_url=url, api_key="any", **LIMITS).messages.create(
                    model=f"no-{model}", max_tokens=8, messages=MESSAGES
                )


if __name__ == "__main__":
    ran = unittest.main(exit=False, argv=[sys.argv[0], "-v"], warnings="ignore").result
    failed = len(ran.failures) + len(ran.errors)
    print(f"# pass {max(ran.testsRun - failed, 0)}\n# fail {failed}\n# skipped {len(ran.skipped)}", flush=True)
    sys.exit(1 if failed else 0)
