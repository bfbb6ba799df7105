import unittest

from answer import Answer
from holdfast import PluginError
from store import Store
from testing import Host, MemoryBody, MemorySink

CONFIG = {"url": "https://objects.example.org/etcd/"}


def store(answer):
    return Store(CONFIG, Host(answer), {})


class StoreTest(unittest.TestCase):
    def test_an_object_is_sent_whole(self):
        host = Host(lambda _: Answer(201))
        self.assertEqual(Store(CONFIG, host, {}).put("data/a", MemoryBody(b"hello")), 5)
        (sent,) = host.sent
        self.assertEqual((sent.url, sent.headers["if-none-match"], sent.body), ("https://objects.example.org/etcd/data/a", "*", b"hello"))

    def test_an_object_that_is_there_is_not_replaced(self):
        with self.assertRaises(PluginError) as raised:
            store(lambda _: Answer(412)).put("data/a", MemoryBody(b"hello"))
        self.assertEqual(raised.exception.code, "exists")

    def test_a_body_that_breaks_off_is_not_stored(self):
        with self.assertRaises(PluginError) as raised:
            store(lambda _: Answer(201)).put("data/a", MemoryBody(b"hello", breaks_off=True))
        self.assertEqual(raised.exception.code, "broken")

    def test_a_range_is_handed_on(self):
        length, sink = {"content-length": "10", "etag": "7"}, MemorySink()
        store(lambda request: Answer(200, length) if request.method == "HEAD" else Answer(206, body=b"cde")).get("data/a", 2, 5, sink)
        self.assertEqual((sink.begun, bytes(sink.content)), ((10, "7"), b"cde"))

    def test_an_answer_that_ends_early_is_taken_up_again(self):
        length = {"content-length": "10"}
        with self.assertRaises(PluginError) as raised:
            store(lambda request: Answer(200, length) if request.method == "HEAD" else Answer(206)).get("data/a", 2, 5, MemorySink())
        self.assertEqual(raised.exception.code, "unavailable")

    def test_what_the_server_refuses_is_told(self):
        for status, code in ((503, "unavailable"), (403, "denied"), (507, "full"), (301, "config"), (418, "http")):
            with self.assertRaises(PluginError) as raised:
                store(lambda _: Answer(status)).delete("data/a")
            self.assertEqual(raised.exception.code, code)

    def test_a_listing_goes_on(self):
        page = store(lambda _: Answer(200, body=b'{"objects": [{"path": "a", "size_bytes": 1}], "next": "a"}')).list("", None, 1)
        self.assertEqual((page.objects[0].path, page.next), ("a", "a"))


if __name__ == "__main__":
    unittest.main()
