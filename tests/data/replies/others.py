#!/usr/bin/env python3
"""The figures of tests/mail_replies.rs for other reply parsers, on the same files.

Needs the Python packages email-reply-parser and mail-parser-reply:
    python3 others.py FOLDER_OF_FIXTURES
"""
import os
import sys


def inside(ranges, number):
    for part in ranges.split(","):
        if part != "-":
            first, _, last = part.partition("-")
            if int(first) <= number <= int(last or first):
                return True
    return False


def words(line):
    return " ".join(line.split())


def measure(name, parse, folder, rows):
    mails = exact = left_mails = lost_mails = 0
    count = {"own": [0, 0], "signature": [0, 0], "quoted": [0, 0]}
    for path, own, signature, neither in rows:
        with open(os.path.join(folder, path), encoding="utf-8", newline="") as file:
            text = file.read().replace("\r\n", "\n")
        kept = [words(line) for line in parse(text).splitlines() if words(line)]
        lines = []
        for number, line in enumerate(text.splitlines(), 1):
            kind = (
                "own" if inside(own, number)
                else "signature" if inside(signature, number)
                else "neither" if inside(neither, number)
                else "quoted"
            )
            if words(line):
                lines.append((kind, words(line)))
        lost = left = 0
        for wanted in ("own", "neither", "signature", "quoted"):
            for _, line in (pair for pair in lines if pair[0] == wanted):
                there = line in kept
                if there:
                    kept.remove(line)
                if wanted == "neither":
                    continue
                count[wanted][1] += 1
                if there != (wanted == "own"):
                    count[wanted][0] += 1
                    if wanted == "own":
                        lost += 1
                    else:
                        left += 1
        mails += 1
        exact += lost == 0 and left == 0
        left_mails += left > 0
        lost_mails += lost > 0
    print(f"{name}: {mails} mails: {exact} exact, something left in {left_mails}, something lost in {lost_mails}")
    print(
        "  lines: {} of {} own lost, {} of {} quoted left, {} of {} of signatures left".format(
            *count["own"], *count["quoted"], *count["signature"]
        )
    )


def main():
    folder = sys.argv[1]
    table = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lines.tsv")
    with open(table, encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file if not line.startswith("#")]
    try:
        from email_reply_parser import EmailReplyParser

        measure("email-reply-parser", EmailReplyParser.parse_reply, folder, rows)
    except ImportError:
        print("email-reply-parser: not installed")
    try:
        from mailparser_reply import EmailReplyParser as Other

        languages = ["en", "de", "da", "es", "fr", "it", "nl", "pl", "sv"]

        def latest(text):
            return Other(languages=languages).read(text=text).latest_reply or ""

        measure("mail-parser-reply", latest, folder, rows)
    except ImportError:
        print("mail-parser-reply: not installed")


main()
