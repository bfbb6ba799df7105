"""The question itself, without anything of the agent, so that it is tested with `python -m unittest`."""


def check(count, config):
    """`count(prefix)` tells how many keys begin with these bytes. Gives outcome, summary and the number found."""
    prefix, at_least = config["prefix"], config.get("at_least", 1)
    found = count(prefix.encode())
    summary = f"{found} keys begin with `{prefix}`"
    if found < at_least:
        return False, f"{summary}, fewer than {at_least}", found
    return True, summary, found
