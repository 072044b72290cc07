"""Checks the worked example of WIRE.md, section 6, without any of our code: standard library only.

Usage: stranger.py WIRE.md   Prints one line per item that holds; exits 1 at the first that does not.
Ed25519 follows RFC 8032, section 5.1, written for reading, not for speed.
"""
import hashlib
import re
import struct
import sys

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def multiply(scalar, point):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def point(data):
    number = int.from_bytes(data, "little")
    y, sign = number % 2**255, number >> 255
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


BASE = point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def signed(key, context, message, signature):
    a, r = point(key), point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= ORDER:
        return False
    digest = hashlib.sha512(signature[:32] + key + context.encode() + b"\0" + message).digest()
    left = multiply(s, BASE)
    right = add(r, multiply(int.from_bytes(digest, "little") % ORDER, a))
    return (left[0] * right[2] - right[0] * left[2]) % P == 0 and (left[1] * right[2] - right[1] * left[2]) % P == 0


def sha(data):
    return hashlib.sha256(data).digest()


class Fields:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        values = struct.unpack_from(">" + form, self.data, self.at)
        self.at += struct.calcsize(">" + form)
        return values

    def rows(self, form, key):
        rows = [self.take(form) for _ in range(self.take("I")[0])]
        keys = [row[:key] for row in rows]
        assert keys == sorted(set(keys)), "rows in strictly ascending order"
        return rows


def statement(data):
    fields = Fields(data)
    assert fields.take("8s")[0] == b"SYDAY\r\n\x01"
    out = dict(zip(("store", "day"), fields.take("Ii")))
    out["ends"] = fields.rows("IQ32s", 1)
    out["records"] = fields.rows("HQ", 1)
    out["tickets"] = fields.take("QQQIQIQ")
    out["money"] = fields.rows("3sBq", 2)
    out["taxes"] = fields.rows("3sHqq", 2)
    out["articles"] = fields.rows("3sQqqqqq", 2)
    return out, data[: fields.at], data[fields.at :]


def climb(leaf, index, size, path):
    """RFC 9162, section 2.1.3.2."""
    f, s, r = index, size - 1, leaf
    for p in path:
        assert s > 0
        if f % 2 or f == s:
            r = sha(b"\1" + p + r)
            while f and f % 2 == 0:
                f, s = f >> 1, s >> 1
        else:
            r = sha(b"\1" + r + p)
        f, s = f >> 1, s >> 1
    assert s == 0
    return r


def main():
    page = open(sys.argv[1], encoding="utf-8").read()
    items = {
        name: bytes.fromhex("".join(body.split()))
        for name, body in re.findall(r"```hex (evidence-[a-z-]+)\n(.*?)```", page, re.S)
    }
    assert len(items) == 8, sorted(items)
    store, hq = items["evidence-store-key"], items["evidence-hq-key"]

    seal = items["evidence-seal"]
    assert len(seal) == 113 and signed(store, "steelyard 2026 chain seal 1", seal[:49], seal[49:])
    assert not signed(hq, "steelyard 2026 chain seal 1", seal[:49], seal[49:])
    print("seal holds")

    out, body, rest = statement(items["evidence-statement"])
    digest, count, signatures = sha(body), rest[0], rest[1:]
    assert count == 2 and len(signatures) == 128
    own, counter = signatures[:64], signatures[64:]
    assert signed(store, "steelyard 2026 statement 1", digest, own)
    assert signed(hq, "steelyard 2026 countersignature 1", digest + own, counter)
    sums = {}
    for currency, account, amount in out["money"]:
        assert amount and account in (0, 1, 16, 17, 18, 19)
        sums[currency] = sums.get(currency, 0) + amount
    assert set(sums.values()) == {0}
    gross = sum(row[2] for row in out["taxes"])
    assert gross == sum(row[4] - row[5] for row in out["articles"])
    assert gross == sum(amount for _, account, amount in out["money"] if account >= 16)
    print("statement of store %(store)d, day %(day)d holds" % out)

    root = items["evidence-day-root"]
    assert len(root) == 144 and root[:8] == b"SYROOT\r\x01"
    assert signed(hq, "steelyard 2026 day root 1", root[:80], root[80:])
    day, size = struct.unpack_from(">iI", root, 8)
    proof = items["evidence-proof"]
    assert proof[:8] == b"SYPROF\r\x01"
    proven, index, of, hashes = struct.unpack_from(">IIIB", proof, 8)
    path = [proof[21 + 32 * n : 53 + 32 * n] for n in range(hashes)]
    assert len(proof) == 21 + 32 * hashes and (proven, of, day) == (out["store"], size, out["day"])
    leaf = sha(b"\0" + struct.pack(">Ii", out["store"], out["day"]) + digest + own)
    assert climb(leaf, index, size, path) == root[16:48]
    assert root[48:80] == bytes(32)
    following = items["evidence-next-day-root"]
    assert following[48:80] == sha(root)
    assert signed(hq, "steelyard 2026 day root 1", following[:80], following[80:])
    print("day root and proof hold")

    capture = items["evidence-capture"]
    assert capture[:8] == b"SYCAP\r\n\x01"
    at, leaves = 8, b""
    while True:
        length, which, _, _ = struct.unpack_from(">IBIq", capture, at)
        payload = capture[at + 17 : at + 17 + length]
        assert len(payload) == length
        leaves += bytes([which])
        if which == ord("e"):
            break
        if which == ord("s"):
            assert payload == seal
        at += 17 + length
    assert payload == sha(capture[:at]) and at + 17 + length == len(capture)
    assert leaves == b"se"
    print("capture holds")


main()
