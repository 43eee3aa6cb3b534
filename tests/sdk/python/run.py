"""Runs the suites that fit the backend and the packages told, and closes with counts, one per line.

Called with the packages to test: `clients` (each with an environment that has them all) or `litellm`.
"""

import faulthandler
import os
import sys
import unittest

from cells import Cells, tests


def suites(packages):
    """The modules that compare Herd with the backend, and the clients that the tables are about."""
    if packages == "litellm":
        from clients import litellm

        return [], litellm.CLIENTS
    import ollama_suite
    import openai_suite
    from clients.anthropic_messages import Messages
    from clients.langchain import CLIENTS
    from clients.ollama_chat import Ollama
    from clients.openai_chat import Chat
    from clients.openai_responses import Responses

    comparing = {"ollama": [openai_suite, ollama_suite], "llama-server": [openai_suite]}[os.environ["BACKEND"]]
    return comparing, [Chat, Responses, Messages, Ollama, *CLIENTS]


def main():
    packages = sys.argv[1]
    # Nothing here takes a minute; what hangs for a quarter of an hour says where before it ends.
    faulthandler.dump_traceback_later(900, exit=True)
    comparing, clients = suites(packages)
    cells = Cells()
    everything = unittest.TestSuite(unittest.defaultTestLoader.loadTestsFromModule(module) for module in comparing)
    everything.addTests(tests(client(), cells) for client in clients)
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(everything)
    cells.write(f"python-{packages}")
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    skipped = len(result.skipped) + len(result.expectedFailures)
    print(f"# pass {result.testsRun - failed - skipped}\n# fail {failed}\n# skipped {skipped}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
