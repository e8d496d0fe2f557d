#!/usr/bin/env python3
"""Does the map of a report mean something?

    python3 benches/map.py report.html data/cmr-mail.db

Of each mail's ten nearest ones on the map: how many are of its thread, and how many of its folder
(of mailing lists: its list)? Beside it the same for places that scikit-learn computes from the same
mails by TF-IDF and truncated SVD in two dimensions, and for places by lot. Needs the Debian
package python3-sklearn, run with Debian's python3 (/usr/bin/python3).
"""
import json
import re
import sqlite3
import sys

import numpy
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neighbors import NearestNeighbors

page = open(sys.argv[1], encoding="utf-8").read()
data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])
database = sqlite3.connect(f"file:{sys.argv[2]}?mode=ro", uri=True)
known = {
    id: (thread, body)
    for id, thread, body in database.execute(
        "SELECT lower(hex(m.public_id)), min(i.thread), t.body FROM message m"
        " JOIN text t ON t.seq = m.seq JOIN import_mail i ON i.seq = m.seq GROUP BY m.seq"
    )
}
mails = [mail for mail in data["mails"] if mail[6] in known]
# A mail of which no thread is known is of no other mail's thread.
roots = [known[mail[6]][0] for mail in mails]
numbers = {root: number for number, root in enumerate(set(roots) - {None})}
threads = numpy.array([numbers.get(root, -1 - at) for at, root in enumerate(roots)])
folders = numpy.array([mail[2] for mail in mails])


def text(mail):
    """Subject and text, as the report compares them: without the lines of author and date."""
    lines, _, rest = known[mail[6]][1].decode("utf-8", "replace").partition("\n\n")
    subject = [line[9:] for line in lines.splitlines() if line.startswith("Subject: ")]
    return "\n".join(subject + [rest])


def shares(name, places):
    found = NearestNeighbors(n_neighbors=11).fit(places).kneighbors(places, return_distance=False)
    near = numpy.array([[b for b in row if b != a][:10] for a, row in enumerate(found)])
    thread = (threads[near] == threads[:, None]).mean()
    first = (threads[near[:, 0]] == threads).mean()
    folder = (folders[near] == folders[:, None]).mean()
    print(f"{name:30} thread: nearest {first:.3f}, of ten {thread:.3f}; folder: of ten {folder:.3f}")


luck = numpy.random.default_rng(1)
print(f"{len(mails)} mails, {len(set(threads))} threads, {len(set(folders))} folders")
shares("map of the report", numpy.array([[mail[0], mail[1]] for mail in mails], float))
words = TfidfVectorizer(sublinear_tf=True, min_df=2).fit_transform(text(mail) for mail in mails)
shares("TF-IDF + SVD, 2 dimensions", TruncatedSVD(2, random_state=1).fit_transform(words))
shares("by lot", luck.random((len(mails), 2)))
