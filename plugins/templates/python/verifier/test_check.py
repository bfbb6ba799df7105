import unittest

from answer import Answer
from check import verify
from memory import memory_snapshot
from memory_host import Host

SNAPSHOT = memory_snapshot({b"/app/a": b"1", b"/app/b": b"2", b"/other": b"3"})
HOST = Host(Answer(200))


class CheckTest(unittest.TestCase):
    def test_enough_keys_pass(self):
        self.assertEqual(verify(SNAPSHOT, {"prefix": "/app/", "at_least": 2}, {}, HOST).outcome, "passed")

    def test_too_few_keys_fail(self):
        report = verify(SNAPSHOT, {"prefix": "/app/", "at_least": 3}, {}, HOST)
        self.assertEqual(report.outcome, "failed")
        self.assertEqual(report.findings[0].message, "2 keys begin with `/app/`, fewer than 3")


if __name__ == "__main__":
    unittest.main()
