"""The report that verifiers and scripts make."""

from collections import Counter
from dataclasses import dataclass, field

# A damaged snapshot can break a rule a million times. The first of each code are named, the rest is counted.
NAMED_OF_A_CODE = 100
_WEIGHT = {"error": 0, "warning": 1, "info": 2}


@dataclass(frozen=True)
class Finding:
    severity: str
    code: str
    message: str
    key: bytes | None
    attributes: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Measurement:
    name: str
    value: float
    unit: str
    attributes: list[tuple[str, str]]


class Report:
    """What a verifier answers. Never put a value into it: values are Secrets, and reports are kept, logged and sent."""

    def __init__(self) -> None:
        # One line that can stand alone: how it stands, and the first thing to look at.
        self.summary = ""
        # What is kept beside the backup and given back with the next one, for a plugin that remembers.
        self.memo = ""
        self.measurements: list[Measurement] = []
        self._findings: list[Finding] = []
        self._seen: Counter[tuple[str, str]] = Counter()
        self._undecided = False

    def _add(self, severity: str, code: str, message: str, key: bytes | None) -> None:
        self._seen[severity, code] += 1
        if self._seen[severity, code] <= NAMED_OF_A_CODE:
            self._findings.append(Finding(severity, code, message, key))

    def info(self, code: str, message: str, key: bytes | None = None) -> None:
        """Worth knowing. `code` is stable, and alerts go by it; `key` is what it is about."""
        self._add("info", code, message, key)

    def warning(self, code: str, message: str, key: bytes | None = None) -> None:
        """Should be looked at; does not fail the verification."""
        self._add("warning", code, message, key)

    def error(self, code: str, message: str, key: bytes | None = None) -> None:
        """A reason to fail."""
        self._add("error", code, message, key)

    def undecided(self, code: str, message: str, key: bytes | None = None) -> None:
        """Something could not be checked: without an error elsewhere the report is inconclusive."""
        self._undecided = True
        self._add("warning", code, message, key)

    def measure(self, name: str, value: float, unit: str, **attributes: str) -> None:
        """A number that becomes a metric; attributes tell several of one name apart."""
        self.measurements.append(Measurement(name, float(value), unit, list(attributes.items())))

    def count(self, code: str) -> int:
        """How many findings of a code there were, named or not."""
        return sum(seen for (_, known), seen in self._seen.items() if known == code)

    @property
    def outcome(self) -> str:
        if any(severity == "error" for severity, _ in self._seen):
            return "failed"
        return "inconclusive" if self._undecided else "passed"

    @property
    def findings(self) -> list[Finding]:
        """Errors first, then how many are not named."""
        found = sorted(self._findings, key=lambda finding: _WEIGHT[finding.severity])
        for (severity, code), seen in self._seen.items():
            more = seen - NAMED_OF_A_CODE
            if more > 0:
                attributes = [("of", code), ("count", str(more))]
                found.append(Finding(severity, "more-findings", f"{more} more of `{code}` are not listed", None, attributes))
        return found
