import unittest

from answer import Answer
from holdfast import PluginError
from memory_host import Host
from notify import notify
from testing import sample_event

URL = "https://events.example.org/hook"


class NotifyTest(unittest.TestCase):
    def test_an_event_is_posted_whole(self):
        host, event = Host(Answer(202), {"token": "opensesame"}), sample_event()
        self.assertEqual(notify(event, {"url": URL, "token_secret": "token"}, host), "answered 202")
        self.assertEqual(host.sent[0].body.decode(), event.cloudevent)
        self.assertEqual(host.sent[0].headers["authorization"], "Bearer opensesame")

    def test_what_is_not_taken_is_tried_again_or_not(self):
        with self.assertRaises(PluginError) as later:
            notify(sample_event(), {"url": URL}, Host(Answer(503, {"retry-after": "7"}, b"not now")))
        self.assertEqual((later.exception.code, later.exception.attributes), ("unavailable", [("retry-after", "7")]))
        with self.assertRaises(PluginError) as never:
            notify(sample_event(), {"url": URL}, Host(Answer(404)))
        self.assertEqual(never.exception.code, "refused")


if __name__ == "__main__":
    unittest.main()
