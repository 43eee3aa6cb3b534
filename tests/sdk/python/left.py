"""Checks that a client that leaves in the middle of an answer is not generated for any longer."""

import os

from both import fake_state, wait_until


def generation_ends_when_the_client_leaves(leave):
    """`leave` starts a stream of the model that it is told and leaves it after a few tokens."""
    model = os.environ["LOOP_MODEL"]
    leave(model)

    def state():
        models = fake_state()["models"]
        return models.get(model) or models[f"{model}:latest"]

    wait_until(lambda: state()["in_flight"] == 0, "the backend still generates for a client that has left")
    assert state()["tokens"] > 0, "it never generated"
