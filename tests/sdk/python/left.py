"""What happens in the middle of a stream: the client leaves, or the backend fails."""

import contextlib
import json
import os
import urllib.request

from both import DIRECT_URL, ON_OLLAMA, fake_state, wait_until

LOOP_URL = os.environ.get("LOOP_URL", DIRECT_URL)


def generation_ends_when_the_client_leaves(leave):
    """`leave` starts a stream of the model that it is told and leaves it after a few tokens: then nothing generates."""
    model = os.environ["LOOP_MODEL"]
    assert not generates(model), "somebody else asks the endless model"
    leave(model)
    wait_until(lambda: not generates(model), "the backend still generates for a client that has left")


def generates(model):
    """Whether the backend works on an answer of `model`."""
    if ON_OLLAMA:
        models = fake_state()["models"]
        return (models.get(model) or models.get(f"{model}:latest") or {"in_flight": 0})["in_flight"] > 0
    with urllib.request.urlopen(f"{LOOP_URL}/slots", timeout=10) as answer:
        return any(slot["is_processing"] for slot in json.load(answer))


@contextlib.contextmanager
def fail_in_mid_stream():
    """Within, the connection to the stand-in is cut after some tokens of the model that this gives."""
    model = os.environ["DIES_MODEL"]
    for name in (model, f"{model}:latest"):
        # Slowly, so that the first tokens do not arrive together with the end.
        faults(json.dumps({"kind": "slow", "after": 20, "model": name}).encode())
        faults(json.dumps({"kind": "cut_after", "after": 5, "model": name}).encode())
    try:
        yield model
    finally:
        faults(None)


def faults(fault):
    """Sets one more fault, or clears all."""
    request = urllib.request.Request(
        f"{DIRECT_URL}/_fake/faults",
        data=fault,
        method="POST" if fault else "DELETE",
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        answer.read()
