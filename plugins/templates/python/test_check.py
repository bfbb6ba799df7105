import unittest

from check import check

KEYS = [b"/app/a", b"/app/b", b"/other"]


def count(prefix):
    return sum(key.startswith(prefix) for key in KEYS)


class CheckTest(unittest.TestCase):
    def test_enough_keys_pass(self):
        self.assertEqual(check(count, {"prefix": "/app/", "at_least": 2})[0], True)

    def test_too_few_keys_fail(self):
        passed, summary, _ = check(count, {"prefix": "/app/", "at_least": 3})
        self.assertEqual((passed, summary), (False, "2 keys begin with `/app/`, fewer than 3"))


if __name__ == "__main__":
    unittest.main()
