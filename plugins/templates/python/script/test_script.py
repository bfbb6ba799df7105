import unittest

from answer import Answer
from memory import memory_database
from memory_host import Host
from script import run


def outcome(config):
    return run(memory_database({b"/app/a": b"1", b"/app/b": b"2", b"/other": b"3"}), config, {}, Host(Answer(200))).outcome


class ScriptTest(unittest.TestCase):
    def test_enough_keys_pass(self):
        self.assertEqual(outcome({"prefix": "/app/", "at_least": 2}), "passed")

    def test_too_few_keys_fail(self):
        self.assertEqual(outcome({"prefix": "/app/", "at_least": 3}), "failed")


if __name__ == "__main__":
    unittest.main()
