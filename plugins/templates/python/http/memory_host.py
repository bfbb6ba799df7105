"""What stands for the agent's grants in tests."""

from answer import Answer, Request
from holdfast import PluginError


class Host:
    """Answers every request alike, and keeps what was sent."""

    def __init__(self, answer: Answer, secrets: dict[str, str] | None = None):
        self.sent: list[Request] = []
        self._answer, self._secrets = answer, secrets or {}

    def send(self, request: Request) -> Answer:
        self.sent.append(request)
        return self._answer

    def secret(self, name: str) -> str:
        if name not in self._secrets:
            raise PluginError("denied", f"`{name}` is not granted")
        return self._secrets[name]

    def log(self, level: str, line: str) -> None:
        pass
