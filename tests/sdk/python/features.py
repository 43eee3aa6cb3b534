"""One function per row of docs/clients.md: asks a client for a feature and holds the answer to what is known beforehand.

A function ends well, or returns the refusal (`No`), or raises.
"""

import concurrent.futures
import json
import os
import unittest

from both import EMBED_MODEL, HERD_URL, MODEL, ON_OLLAMA, SCHEMA, TOOLS
from left import fail_in_mid_stream, generation_ends_when_the_client_leaves
from wish import BOTH_TOOLS, PNG, Call, No, NotApplicable, Wish

CALL_MODEL, THINK_MODEL, SEE_MODEL = (os.environ[name] for name in ("CALL_MODEL", "THINK_MODEL", "SEE_MODEL"))
EMPTY_URL = os.environ["EMPTY_URL"]
# What the model says to anything.
SAYS = "This reply comes from a tiny but real model ."
# What the one that thinks says afterwards.
ANSWER = "The answer is 4 ." if ON_OLLAMA else SAYS

FEATURES = {}
check = unittest.TestCase()


def feature(title):
    def keep(function):
        FEATURES[title] = function
        return function

    return keep


def streamed(title):
    """Two rows: `title` and the same streamed."""

    def keep(function):
        FEATURES[title] = lambda client: function(client, False)
        FEATURES[f"{title}, streamed"] = lambda client: function(client, True)
        return function

    return keep


def refused(client, ask, word):
    """The refusal that `ask` meets, if it names what was refused; without one, nothing."""
    try:
        ask()
    except client.errors as error:
        check.assertEqual(client.status(error), 400, error)
        check.assertIn(word, client.words(error))
        return No(client.words(error))
    return None


@streamed("chat")
def chat(client, stream):
    said = client.chat(Wish(stream=stream))
    check.assertEqual(said.text.strip(), SAYS)
    check.assertEqual((said.finish, said.calls), ("stop", []))
    if stream:
        check.assertGreater(said.pieces, 3)


@streamed("tokens counted")
def tokens_counted(client, stream):
    read, made = client.chat(Wish(stream=stream)).tokens
    check.assertGreater(read, 0)
    check.assertGreater(made, 5)


@feature("cut by length")
def cut_by_length(client):
    said = client.chat(Wish(most=3))
    check.assertEqual(said.finish, "length")
    check.assertTrue(0 < len(said.text.split()) < 9, said.text)


@feature("cut by a stop sequence")
def cut_by_a_stop_sequence(client):
    said = client.chat(Wish(stop="tiny"))
    check.assertEqual(said.text.strip(), "This reply comes from a")
    check.assertEqual(said.finish, "stop")


def is_weather(call):
    check.assertTrue(call.id)
    check.assertEqual(call.name, "weather")
    check.assertIsInstance(call.arguments["city"], str)


@streamed("tool call")
def tool_call(client, stream):
    said = client.chat(Wish(model=CALL_MODEL, tools=TOOLS, stream=stream))
    is_weather(said.calls[0])
    check.assertEqual(said.finish, "tools")


@streamed("tool call, forced")
def forced(client, stream):
    said = client.chat(Wish(tools=TOOLS, choice="required", stream=stream))
    is_weather(said.calls[0])
    check.assertEqual(said.finish, "tools")
    check.assertNotIn("{", said.text)


@feature("tool call, forced by name")
def forced_by_name(client):
    for name in ["weather", "time"]:
        said = client.chat(Wish(tools=BOTH_TOOLS, choice=name))
        check.assertEqual([call.name for call in said.calls], [name])


@feature("tool call, forbidden")
def forbidden(client):
    # The model has only one thing on its mind and may go on about it.
    said = client.chat(Wish(model=CALL_MODEL, tools=TOOLS, choice="none", most=100))
    check.assertEqual(said.calls, [])
    check.assertTrue(said.text)


@streamed("two tool calls")
def two_tool_calls(client, stream):
    if not ON_OLLAMA:
        raise NotApplicable("the test model makes one call")
    said = client.chat(Wish(model=CALL_MODEL, tools=TOOLS, stream=stream))
    check.assertEqual(len(said.calls), 2)
    for call in said.calls:
        is_weather(call)
    check.assertNotEqual(said.calls[0].id, said.calls[1].id)


@feature("no more than one tool call")
def single(client):
    said = client.chat(Wish(model=CALL_MODEL, tools=TOOLS, single=True))
    check.assertEqual(len(said.calls), 1)
    is_weather(said.calls[0])


@feature("results of tools")
def results(client):
    done = [(Call(f"call_{city}", "weather", {"city": city}), f"Rain in {city}.") for city in ("Bern", "Genf")]
    said = client.chat(Wish(tools=TOOLS, results=done))
    check.assertEqual(said.text.strip(), SAYS)


@streamed("structured output")
def structured_output(client, stream):
    said = client.chat(Wish(schema=SCHEMA, stream=stream))
    person = json.loads(said.text)
    check.assertIsInstance(person["name"], str)
    check.assertIsInstance(person["age"], int)


@feature("any JSON")
def any_json(client):
    check.assertIsInstance(json.loads(client.chat(Wish(json=True, most=200)).text), (dict, list))


@streamed("thinking")
def thinking(client, stream):
    said = client.chat(Wish(model=THINK_MODEL, think=True, stream=stream))
    check.assertGreater(len(said.thinking.split()), 2)
    check.assertEqual(said.text.strip(), ANSWER)


@feature("thinking, switched off")
def no_thinking(client):
    said = client.chat(Wish(model=THINK_MODEL, think=False))
    check.assertEqual(said.thinking, "")
    check.assertTrue(said.text)


@feature("image")
def image(client):
    if not SEE_MODEL:
        raise NotApplicable("there is no test model that sees")
    check.assertEqual(client.chat(Wish(model=SEE_MODEL, image=PNG)).text.strip(), SAYS)


@feature("image to a model that cannot see")
def image_to_the_blind(client):
    with check.assertRaises(client.errors) as caught:
        client.chat(Wish(image=PNG))
    check.assertIn(client.status(caught.exception), (400, 500))
    check.assertIn("image", client.words(caught.exception))


@feature("image by address")
def image_by_address(client):
    if not SEE_MODEL:
        raise NotApplicable("there is no test model that sees")
    # Nobody listens there: whoever fetches it fails.
    ask = Wish(model=SEE_MODEL, image="http://127.0.0.1:9/x.png")
    return refused(client, lambda: client.chat(ask), "image") or check.fail("no refusal")


@feature("several answers at once")
def several_answers(client):
    return refused(client, lambda: check.assertEqual(len(client.several(Wish(), 2)), 2), "`n`")


@feature("log probabilities")
def log_probabilities(client):
    return refused(client, lambda: check.assertGreater(len(client.log_probabilities(Wish())), 5), "logprobs")


@feature("earlier answer by its id")
def earlier_answer(client):
    def ask():
        # What was said before is read as well.
        before, after = client.go_on(Wish())
        check.assertGreater(after, before + 10)

    return refused(client, ask, "previous_response_id")


@feature("embeddings")
def embeddings(client):
    vectors = client.embed(EMBED_MODEL, ["one", "two"])
    check.assertEqual(len(vectors), 2)
    check.assertTrue(all(isinstance(number, float) for vector in vectors for number in vector))
    check.assertEqual(len(vectors[0]), len(vectors[1]))
    check.assertGreater(len(vectors[0]), 100)


@feature("embeddings in base64")
def packed_embeddings(client):
    packed = client.embed(EMBED_MODEL, ["one", "two"], packed=True)
    numbers = client.embed(EMBED_MODEL, ["one", "two"])
    for one, other in zip(packed[1], numbers[1], strict=True):
        check.assertAlmostEqual(one, other, places=5)


@feature("list of models")
def list_of_models(client):
    names = {name.removesuffix(":latest") for name in client.models()}
    check.assertTrue({MODEL, CALL_MODEL, THINK_MODEL} <= names, names)


@feature("count of tokens")
def count_of_tokens(client):
    short, long = (client.count(Wish(text=text)) for text in ("Hello?", "Hello? " * 50))
    check.assertTrue(0 < short < long, (short, long))


@streamed("unknown model")
def unknown_model(client, stream):
    with check.assertRaises(client.not_found) as caught:
        client.chat(Wish(model="no-such-model", stream=stream))
    check.assertEqual(client.status(caught.exception), 404)
    check.assertIn("no-such-model", client.words(caught.exception))


@feature("wrong type of a parameter")
def wrong_type(client):
    with check.assertRaises(client.bad_request) as caught:
        client.chat(Wish(raw=client.hot))
    check.assertIn(client.status(caught.exception), client.bad_request_statuses)
    check.assertIn("temperature", client.words(caught.exception))


@feature("no inference server")
def no_backend(client):
    lonely = client.at(EMPTY_URL)
    with check.assertRaises(client.unavailable) as caught:
        lonely.chat(Wish())
    check.assertEqual(client.status(caught.exception), getattr(client, "unavailable_status", 503))
    check.assertIn("server", client.words(caught.exception))


@feature("failure in mid-stream")
def failure_in_mid_stream(client):
    if not ON_OLLAMA:
        raise NotApplicable("the engine does not fail when told to")
    with check.assertRaises(client.stream_errors), fail_in_mid_stream() as model:
        for _ in client.pieces(Wish(model=model, stream=True)):
            pass


@feature("leaving in mid-stream")
def leaving(client):
    def leave(model):
        pieces = client.pieces(Wish(model=model, stream=True))
        for _, _ in zip(range(5), pieces):
            pass
        pieces.close()

    generation_ends_when_the_client_leaves(leave)


@feature("many at once")
def many_at_once(client):
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: client.at(HERD_URL).chat(Wish()).text.strip(), range(8)))
    check.assertEqual(answers, [SAYS] * 8)
