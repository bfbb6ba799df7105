"""An SMTP server for tests: aiosmtpd with TLS and a login, which keeps each message in a file.

Prints `listening PORT` when it is ready. Each message is NUMBER.eml in the folder, beside NUMBER.json with its envelope.
"""

import argparse
import asyncio
import json
import pathlib
import ssl

from aiosmtpd.smtp import SMTP, AuthResult


class Keep:
    """Takes every message, except for a reader that nobody knows."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.count = 0

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 5.1.1 no such user here"
        if address.startswith("later@"):
            return "451 4.7.1 try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.count += 1
        about = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "tls": server.transport.get_extra_info("ssl_object") is not None,
            "login": session.auth_data.login.decode() if session.auth_data else None,
        }
        (self.folder / f"{self.count}.eml").write_bytes(envelope.content)
        part = self.folder / f"{self.count}.part"
        part.write_text(json.dumps(about))
        # Whoever waits for the envelope finds it whole, and the message beside it.
        part.rename(self.folder / f"{self.count}.json")
        return f"250 message {self.count} kept"


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", choices=["plain", "starttls", "implicit"], required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    parser.add_argument("--login", help="NAME:PASSWORD")
    arguments = parser.parse_args()

    tls = None
    if arguments.certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(arguments.certificate, arguments.key)

    def authenticate(server, session, envelope, mechanism, data):
        given = f"{data.login.decode()}:{data.password.decode()}"
        if given == arguments.login:
            return AuthResult(success=True, auth_data=data)
        # As some servers do: they repeat what they were given.
        return AuthResult(success=False, handled=False, message=f"535 5.7.8 wrong password {data.password.decode()}")

    keep = Keep(arguments.folder)

    def session():
        starttls = arguments.mode == "starttls"
        return SMTP(
            keep,
            hostname="localhost",
            tls_context=tls if starttls else None,
            require_starttls=starttls,
            authenticator=authenticate if arguments.login else None,
            auth_required=bool(arguments.login),
            auth_require_tls=starttls,
        )

    loop = asyncio.get_running_loop()
    implicit = tls if arguments.mode == "implicit" else None
    server = await loop.create_server(session, host="127.0.0.1", port=0, ssl=implicit)
    print("listening", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
