"""What a test asks of any client, and what the client understood of the answer."""

import json
from dataclasses import dataclass, field

from both import MODEL, TOOLS

TIME = {
    "type": "function",
    "function": {
        "name": "time",
        "description": "Tells the time in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
BOTH_TOOLS = [*TOOLS, TIME]
# One pixel.
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


class NotApplicable(Exception):
    """The pair of client and backend has nothing to try; the text says why."""


class No(str):
    """What was refused, in the words of the one who refused it."""


@dataclass
class Call:
    """A tool call; `arguments` is an object."""

    id: str
    name: str
    arguments: dict

    def __post_init__(self):
        if isinstance(self.arguments, str):
            self.arguments = json.loads(self.arguments)

    def written(self):
        """As a request in OpenAI's dialect repeats it."""
        function = {"name": self.name, "arguments": json.dumps(self.arguments)}
        return {"id": self.id, "type": "function", "function": function}


@dataclass
class Wish:
    """One request in nobody's dialect."""

    model: str = MODEL
    stream: bool = False
    text: str = "Hello?"
    # Base64 of a PNG, or the address of one.
    image: str | None = None
    tools: list = field(default_factory=list)
    # "required", "none" or a tool's name.
    choice: str | None = None
    # No more than one call.
    single: bool = False
    # Calls made before, each with its result.
    results: list = field(default_factory=list)
    schema: dict | None = None
    json: bool = False
    think: bool | None = None
    most: int | None = None
    stop: str | None = None
    # Fields of the client's own dialect, as they are.
    raw: dict = field(default_factory=dict)


@dataclass
class Said:
    """One answer in nobody's dialect."""

    text: str = ""
    thinking: str = ""
    calls: list = field(default_factory=list)
    # "stop", "length" or "tools".
    finish: str = ""
    # Tokens read and tokens made; `None` where the client was told nothing.
    tokens: tuple | None = None
    # How many pieces of text came one after the other; 0 if it came whole.
    pieces: int = 0
