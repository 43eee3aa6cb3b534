"""Runs the suites of this directory that fit the backend and closes with counts, one per line."""

import os
import sys
import unittest

import openai_suite
import ollama_suite


def main():
    suites = {"ollama": [openai_suite, ollama_suite], "llama-server": [openai_suite]}[os.environ["BACKEND"]]
    tests = unittest.TestSuite(unittest.defaultTestLoader.loadTestsFromModule(suite) for suite in suites)
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(tests)
    failed = len(result.failures) + len(result.errors)
    skipped = len(result.skipped)
    print(f"# pass {result.testsRun - failed - skipped}\n# fail {failed}\n# skipped {skipped}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
