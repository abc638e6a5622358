"""An independent reader and rewriter of SQLite WAL files, for the vectors in this folder.

  wal_reader.py list IN              prints {"pageSizeBytes", "frames": [[pgno, commit], ...]}: valid frames
  wal_reader.py big-endian IN OUT    rewrites a WAL with big-endian checksums (magic 0x377f0683)
"""
import json
import struct
import sys


def checksum(data, order, s1=0, s2=0):
    words = struct.unpack(order + "%dI" % (len(data) // 4), data)
    for i in range(0, len(words), 2):
        s1 = (s1 + words[i] + s2) % 2**32
        s2 = (s2 + words[i + 1] + s1) % 2**32
    return s1, s2


def frames(wal):
    """Yields (offset, pgno, commit, page) of each valid frame."""
    magic, _, size = struct.unpack(">III", wal[:12])
    order = ">" if magic & 1 else "<"
    sums = checksum(wal[:24], order)
    assert sums == struct.unpack(">II", wal[24:32]), "header checksum"
    at = 32
    while at + 24 + size <= len(wal):
        pgno, commit = struct.unpack(">II", wal[at : at + 8])
        page = wal[at + 24 : at + 24 + size]
        sums = checksum(page, order, *checksum(wal[at : at + 8], order, *sums))
        if wal[at + 8 : at + 16] != wal[16:24] or pgno == 0:
            return
        if sums != struct.unpack(">II", wal[at + 16 : at + 24]):
            return
        yield at, pgno, commit, page
        at += 24 + size


def list_frames(path):
    wal = open(path, "rb").read()
    found = [[pgno, commit] for _, pgno, commit, _ in frames(wal)]
    print(json.dumps({"pageSizeBytes": struct.unpack(">I", wal[8:12])[0], "frames": found}))


def big_endian(path, target):
    wal = open(path, "rb").read()
    head = struct.pack(">I", 0x377F0683) + wal[4:24]
    sums = checksum(head, ">")
    out = head + struct.pack(">II", *sums)
    for at, _, _, page in frames(wal):
        sums = checksum(page, ">", *checksum(wal[at : at + 8], ">", *sums))
        out += wal[at : at + 16] + struct.pack(">II", *sums) + page
    open(target, "wb").write(out)


if sys.argv[1] == "list":
    list_frames(sys.argv[2])
else:
    big_endian(sys.argv[2], sys.argv[3])
