"""Reads a mail on standard input with Python's email package and tells as JSON what it holds.

The second opinion on the mails that we write: headers decoded, text parts as text, other parts
as base64, and whatever the package calls a defect.
"""

import base64
import email
import email.policy
import json
import sys

message = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)


def part(found):
    payload = found.get_payload(decode=True)
    return {
        "type": found.get_content_type(),
        "disposition": found.get_content_disposition(),
        "filename": found.get_filename(),
        "encoding": found["Content-Transfer-Encoding"],
        "charset": found.get_content_charset(),
        "base64": base64.b64encode(payload).decode(),
        "text": found.get_content() if found.get_content_type() == "text/plain" else None,
        "defects": [repr(defect) for defect in found.defects],
    }


def addresses(name):
    found = message[name]
    return [[address.display_name, address.addr_spec] for address in found.addresses] if found else []


print(
    json.dumps(
        {
            "headers": [[name, str(value)] for name, value in message.items()],
            "from": addresses("From"),
            "to": addresses("To"),
            "date": message["Date"].datetime.timestamp() if message["Date"] else None,
            "parts": [part(found) for found in message.walk() if not found.is_multipart()],
            "defects": [repr(defect) for defect in message.defects]
            + [repr(defect) for value in message.values() for defect in value.defects],
        }
    )
)
