"""Tries each feature with each client and keeps what came of it, one cell of the tables in docs/clients.md each."""

import json
import os
import pathlib
import unittest
from fnmatch import fnmatchcase
from importlib.metadata import version

from both import BACKEND
from features import FEATURES
from wish import No, NotApplicable

HERE = pathlib.Path(__file__).parent.parent


class Cells:
    """What was found out so far: client, feature, cell."""

    def __init__(self):
        self.rows = []
        self.known = json.loads((HERE / "known.json").read_text())

    def add(self, client, feature, cell):
        packages = f"`{client.package}` {version(client.package)}"
        self.rows.append({"client": client.title, "packages": packages, "feature": feature, "cell": cell})

    def fault(self, client, feature):
        """The title of the known fault that spoils this cell, if there is one."""
        for one in self.known:
            if BACKEND in one["backends"] and feature in one["features"]:
                if any(fnmatchcase(client.title, pattern) for pattern in one["clients"]):
                    return one["title"]
        return None

    def write(self, name):
        """Leaves the cells where the program that makes the page looks for them."""
        if directory := os.environ.get("CELLS"):
            (pathlib.Path(directory) / f"{name}.json").write_text(json.dumps(self.rows))


def tests(client, cells):
    """A test per feature that `client` has."""

    def test(feature, tried):
        def run(case):
            fault = cells.fault(client, feature)
            try:
                refusal = tried(client)
            except NotApplicable as reason:
                cells.add(client, feature, f"n/a: {reason}")
                return
            except Exception as error:
                cells.add(client, feature, f"no: {fault or error!r}")
                if fault:
                    case.skipTest(f"known fault: {fault}")
                raise
            if fault:
                case.fail(f"this works now, take it out of known.json: {fault}")
            cells.add(client, feature, f"no: {refusal}" if isinstance(refusal, No) else "yes")

        return run

    methods = {}
    for number, (feature, tried) in enumerate(FEATURES.items()):
        if reason := client.lacks.get(feature):
            cells.add(client, feature, f"n/a: {reason}")
            continue
        run = test(feature, tried)
        run.__doc__ = f"{client.title}: {feature}"
        methods[f"test_{number:02}"] = run
    assert client.lacks.keys() <= FEATURES.keys(), client.lacks.keys() - FEATURES.keys()
    case = type(client.title, (unittest.TestCase,), methods)
    return unittest.defaultTestLoader.loadTestsFromTestCase(case)
