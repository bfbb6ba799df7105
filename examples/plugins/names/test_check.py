import unittest

from check import verify
from holdfast import PluginError
from memory import memory_snapshot

CLUSTER = memory_snapshot(
    {
        b"/registry/namespaces/web": b"k8s",
        b"/registry/namespaces/Old_One": b"k8s",
        b"/registry/services/specs/web/shop": b"k8s",
        b"/registry/services/specs/test/x": b"k8s",
    }
)


class NamesTest(unittest.TestCase):
    def test_a_bad_name_is_told_with_what_the_rule_means(self):
        rule = {"resource": "namespaces", "pattern": "[a-z-]+", "says": "small letters and dashes"}
        report = verify(CLUSTER, {"rules": [rule]}, {}, None)
        self.assertEqual(report.outcome, "failed")
        self.assertEqual(report.findings[0].message, "`Old_One` of namespaces is not small letters and dashes")

    def test_a_rule_may_be_for_some_namespaces(self):
        rule = {"resource": "services", "pattern": "[a-z]{2,}", "namespaces": ["web"]}
        self.assertEqual(verify(CLUSTER, {"rules": [rule]}, {}, None).outcome, "passed")

    def test_a_rule_about_nothing_is_not_decided(self):
        self.assertEqual(verify(CLUSTER, {"rules": [{"resource": "pods", "pattern": "."}]}, {}, None).outcome, "inconclusive")

    def test_a_broken_pattern_is_an_error_of_the_config(self):
        with self.assertRaises(PluginError):
            verify(CLUSTER, {"rules": [{"resource": "pods", "pattern": "("}]}, {}, None)


if __name__ == "__main__":
    unittest.main()
