"""The notifier: {{summary}}. It knows nothing of WebAssembly, so that it is tested with `python -m unittest`."""

from answer import Request, check

NAME = "{{name}}"
VERSION = "0.1.0"
SUMMARY = "{{summary}}"
# Lines of an `allow` table that it would like. Where the event goes is the operator's to say.
WANTS = ['http = ["*"]', 'secrets = ["*"]']
# JSON Schema of the config: the agent checks a config with it before `notify` sees it.
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["url"],
    "properties": {
        "url": {"type": "string", "format": "uri", "description": "Where events are posted to."},
        "token_secret": {"type": "string", "description": "The name of a secret that is sent as a bearer token."},
    },
}


def notify(event, config: dict, host) -> str:
    """Delivers one event: id, time, kind, severity, summary, cluster, cloudevent, and attributes by name. What it gives back is one line on
    what the far end said; a PluginError says why the event was not delivered, and whether to try again: `config` and `refused` are final,
    anything else is tried again. `host` is what the agent grants: send(request), secret(name), state, log(level, line)."""
    headers = {"content-type": "application/cloudevents+json"}
    if token := config.get("token_secret"):
        headers["authorization"] = f"Bearer {host.secret(token)}"
    answer = host.send(Request(config["url"], "POST", headers, event.cloudevent.encode()))
    check(answer)
    return f"answered {answer.status}"
