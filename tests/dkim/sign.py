#!/usr/bin/env python3
"""Signs the mails of this folder with dkimpy (pip install dkimpy pynacl): python3 sign.py

It writes NAME.eml, and keys.tsv: what the DNS says of the keys. The secret halves are thrown away,
so run it only to make all of them anew. They are signed as of TIME below.
"""

import base64
import os
import subprocess
import tempfile

import dkim
import nacl.signing

TIME = 1735722000  # 2025-01-01 09:00 UTC
dkim.time.time = lambda: TIME

HEADER = (
    b"From: Ann =?utf-8?q?L=C3=B6w?= <ann@example.net>\r\n"
    b"To: cmr@home.test\r\n"
    b"Subject: whales,\r\n\tand   where they live \r\n"
    b"Date: Wed, 01 Jan 2025 08:59:00 +0000\r\n"
    b"Message-ID: <NAME@example.net>\r\n"
    b"MIME-Version: 1.0\r\n"
)
TEXT = (
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    b"Where do  whales live?  \r\n.\r\nIn the sea, \xc3\xb6stlich.\t\r\n\r\n\r\n"
)
QUOTED = (
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"Where do =\r\nwhales live=3F\r\n"
)
EMPTY = b"Content-Type: text/plain\r\n\r\n"
FIELDS = [b"from", b"to", b"cc", b"subject", b"date", b"message-id"]

folder = os.path.dirname(os.path.abspath(__file__))
keys = []


def rsa(bits):
    with tempfile.TemporaryDirectory() as place:
        path = os.path.join(place, "k")
        subprocess.run(["openssl", "genrsa", "-traditional", "-out", path, str(bits)], check=True)
        der = subprocess.run(["openssl", "rsa", "-in", path, "-pubout", "-outform", "DER"],
                             check=True, capture_output=True).stdout
        return open(path, "rb").read(), "v=DKIM1; k=rsa; p=" + base64.b64encode(der).decode()


def ed25519():
    key = nacl.signing.SigningKey.generate()
    public = base64.b64encode(bytes(key.verify_key)).decode()
    return base64.b64encode(bytes(key)), "v=DKIM1; k=ed25519; p=" + public


for name, kind, canon, body in [
    ("rsa-relaxed", "rsa", (b"relaxed", b"relaxed"), TEXT),
    ("rsa-simple", "rsa", (b"simple", b"simple"), TEXT),
    ("rsa-relaxed-simple", "rsa", (b"relaxed", b"simple"), QUOTED),
    ("rsa-4096", "rsa4096", (b"simple", b"relaxed"), QUOTED),
    ("ed25519-relaxed", "ed25519", (b"relaxed", b"relaxed"), TEXT),
    ("ed25519-simple", "ed25519", (b"simple", b"simple"), QUOTED),
    ("rsa-empty", "rsa", (b"relaxed", b"relaxed"), EMPTY),
    ("ed25519-empty", "ed25519", (b"simple", b"simple"), EMPTY),
]:
    secret, public = ed25519() if kind == "ed25519" else rsa(4096 if kind == "rsa4096" else 2048)
    keys.append((name + "._domainkey.example.net", public))
    mail = HEADER.replace(b"NAME", name.encode()) + body
    algorithm = b"ed25519-sha256" if kind == "ed25519" else b"rsa-sha256"
    signature = dkim.sign(mail, name.encode(), b"example.net", secret, canonicalize=canon,
                          signature_algorithm=algorithm, include_headers=FIELDS)
    signed = signature + mail
    records = dict(keys)
    assert dkim.verify(signed, dnsfunc=lambda n, timeout=5: records[n.decode().rstrip(".")].encode())
    open(os.path.join(folder, name + ".eml"), "wb").write(signed)

with open(os.path.join(folder, "keys.tsv"), "w") as out:
    for key in keys:
        out.write("\t".join(key) + "\n")
