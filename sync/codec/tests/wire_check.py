"""Checks the worked examples of sync/WIRE.md without any code of ours: BLAKE3, LEB128, range coder and columns are
written here from the text of that page. Only zstd comes from elsewhere (`zstandard` from the package index).

Usage: wire_check.py WIRE.md DICTIONARY [MORE.md ...]; the further pages hold pairs of blocks like the first. Prints one line
per example and ends with 1 when one does not hold.
"""
import re
import sys

M64 = (1 << 64) - 1
M32 = (1 << 32) - 1

# --- BLAKE3, one chunk or more (the specification's reference algorithm) ---------------------------------------------
IV = [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19]
ORDER = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]
CHUNK_START, CHUNK_END, PARENT, ROOT, CONTEXT, MATERIAL = 1, 2, 4, 8, 32, 64


def compress(cv, block, counter, length, flags):
    s = cv + IV[:4] + [counter & M32, counter >> 32, length, flags]
    m = [int.from_bytes(block[i * 4 : i * 4 + 4], "little") for i in range(16)]
    rot = lambda x, n: (x >> n | x << (32 - n)) & M32

    def g(a, b, c, d, x, y):
        s[a] = (s[a] + s[b] + x) & M32
        s[d] = rot(s[d] ^ s[a], 16)
        s[c] = (s[c] + s[d]) & M32
        s[b] = rot(s[b] ^ s[c], 12)
        s[a] = (s[a] + s[b] + y) & M32
        s[d] = rot(s[d] ^ s[a], 8)
        s[c] = (s[c] + s[d]) & M32
        s[b] = rot(s[b] ^ s[c], 7)

    for _ in range(7):
        for i, (a, b, c, d) in enumerate(
            [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15), (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)]
        ):
            g(a, b, c, d, m[2 * i], m[2 * i + 1])
        m = [m[i] for i in ORDER]
    return [s[i] ^ s[i + 8] for i in range(8)]


def hash_tree(key, flags, data):
    def chunk(part, counter, root):
        cv, blocks = key, [part[i : i + 64] for i in range(0, len(part), 64)] or [b""]
        for i, block in enumerate(blocks):
            f = flags | (CHUNK_START if i == 0 else 0)
            if i == len(blocks) - 1:
                f |= CHUNK_END | (ROOT if root else 0)
            cv = compress(cv, block.ljust(64, b"\0"), counter, len(block), f)
        return cv

    def tree(part, counter, root):
        if len(part) <= 1024:
            return chunk(part, counter, root)
        left = 1 << ((len(part) - 1) // 1024).bit_length() - 1
        both = tree(part[: left * 1024], counter, False) + tree(part[left * 1024 :], counter + left, False)
        block = b"".join(w.to_bytes(4, "little") for w in both)
        return compress(key, block, 0, 64, flags | PARENT | (ROOT if root else 0))

    return tree(data, 0, True)


def derive_key(context, material):
    key = hash_tree(IV, CONTEXT, context.encode())
    return b"".join(w.to_bytes(4, "little") for w in hash_tree(key, MATERIAL, material))


def log_name(log):
    store, direction, epoch = log
    return store.to_bytes(4, "big") + bytes([direction]) + epoch.to_bytes(4, "big")


def genesis(log):
    return derive_key("steelyard 2026 event chain genesis 1", log_name(log))


def next_link(link, log, seq, record):
    return derive_key("steelyard 2026 event chain link 1", link + log_name(log) + seq.to_bytes(8, "big") + record)


# --- postcard and LEB128 ---------------------------------------------------------------------------------------------
class Bytes:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        assert count <= len(self.data) - self.at, "cut off"
        self.at += count
        return self.data[self.at - count : self.at]

    def u(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def sized(self):
        return self.take(self.u())

    def rest(self):
        return self.take(len(self.data) - self.at)


def leb(value):
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + bytes([value]))


def zigzag(value):
    return (value << 1 ^ value >> 63) & M64


def unzigzag(value):
    return value >> 1 ^ -(value & 1)


def wrap(value):
    value &= M64
    return value - (1 << 64) if value >> 63 else value


# --- columns: (how it lies in the record, what predicts it, arguments) -----------------------------------------------
DEVICE, LOT, PERSON, WORD, FREE, MONEY = range(6)
REF = [("u", "epoch"), ("u", "again")]
LINE = [("u", "sku"), ("t", "lot", 0), ("i", "quantity", 0, 9), ("i", "price", 0), ("i", "plain"), ("i", "amount", 3, 2, 4), ("u", "tax", 0),
        ("o", 2), ("u", "epoch"), ("u", "weighed"), ("o", 2)] + REF
LINE_ORDER = [0, 7, 8, 9, 1, 2, 3, 4, 5, 6, 10, 11, 12]
PAID = [("u", "plain"), ("i", "tender")]
MOVED = [("u", "sku"), ("t", "lot", 0), ("i", "quantity", 0, 0)]
DEV = ("t", "name", DEVICE)
LAYOUTS = {  # number: (kind, fields, order)
    48: (None, LINE, LINE_ORDER), 49: (None, PAID, None), 50: (None, LINE, LINE_ORDER), 51: (None, PAID, None),
    52: (None, MOVED + [("i", "last", 0)], None), 53: (None, MOVED, None), 54: (None, MOVED, None),
    55: (None, [("u", "delta"), ("u", "delta"), ("t", "name", FREE), ("u", "plain"), ("i", "plain"), ("u", "delta"), ("i", "delta"), ("i", "delta"), ("u", "plain")], None),
    1: (1, [("u", "plain"), ("u", "plain"), ("o", 6), ("u", "epoch"), ("u", "plain")] + 4 * [("8", "noise")] + [("t", "name", FREE)], None),
    2: (2, [DEV, ("i", "plain"), ("i", "last", 0), ("i", "last", 0), ("8", "noise")], None),
    3: (3, [("u", "plain"), ("u", "count", 0), ("i", "delta"), ("t", "name", MONEY), ("l", 48), ("l", 49)], None),
    4: (4, [("u", "plain"), ("u", "count", 0), ("i", "delta"), ("o", 2), ("u", "epoch"), ("u", "back"), ("t", "name", MONEY), ("l", 50), ("l", 51)], None),
    5: (5, [("t", "name", FREE), ("l", 52)], None),
    6: (6, MOVED + [("u", "plain"), ("o", 2)] + REF, None),
    7: (7, [("u", "sku"), ("t", "lot", 0), ("t", "name", WORD), ("i", "quantity", 0, 0), ("i", "near", 3), ("t", "name", PERSON)], None),
    8: (8, [("u", "delta"), ("l", 53)], None),
    9: (9, [("u", "delta"), ("u", "last", 0), ("u", "last", 0), ("l", 54)], None),
    10: (10, [DEV, ("i", "minute"), ("o", 1), ("i", "near", 5), ("o", 1), ("i", "last", 0), ("o", 1), ("i", "near", 5), ("u", "last", 0), ("u", "plain")], [0, 1, 4, 5, 2, 3, 6, 7, 8, 9]),
    11: (11, [DEV, ("u", "plain"), ("i", "before"), ("o", 1), ("i", "plain"), ("o", 1), ("i", "plain")], None),
    12: (12, REF + [("t", "name", PERSON)], None),
    13: (13, REF + [("o", 1), ("i", "plain"), ("o", 1), ("i", "plain")], None),
    14: (14, REF + [("i", "before"), ("t", "name", PERSON)], None),
    15: (15, [DEV, ("u", "sku"), ("i", "quantity", 1, 1), ("u", "delta")] + 2 * [("i", "last", 3)] + 2 * [("u", "last", 3)], None),
    16: (16, REF + [("u", "last", 1), ("u", "near", 2), ("o", 1), ("i", "plain"), ("t", "name", WORD)], None),
    17: (17, [("u", "sku"), ("o", 1), ("i", "price", 0), ("i", "near", 2), ("u", "delta")], None),
    18: (18, [DEV, ("u", "sku"), ("i", "price", 1), ("u", "delta"), ("8", "noise")], None),
    19: (19, [DEV, ("u", "plain"), ("t", "name", FREE)], None),
    20: (20, [DEV, ("u", "plain"), ("t", "name", FREE)], None),
    21: (21, [("t", "name", PERSON), ("t", "name", WORD), ("t", "name", FREE)], None),
    22: (22, [("u", "sku"), ("i", "quantity", 0, 0), ("t", "name", WORD), ("t", "name", FREE), ("i", "before")], None),
    23: (23, REF + [("u", "sku"), ("i", "quantity", 2, 2), ("u", "plain")], None),
    24: (24, [("i", "plain")], None),
    25: (256, [("l", 55)], None),
}


class Dictionary:
    def __init__(self, data=None):
        self.number, self.zstd, self.texts, self.articles, self.nodes = 0, b"", [[] for _ in range(6)], [], {}
        if data is None:
            return
        b = Bytes(data)
        assert b.take(4) == b"SYD1"
        self.number, self.zstd = b.u(), b.sized()
        self.texts = [[b.sized() for _ in range(b.u())] for _ in range(6)]
        rates = [b.u() for _ in range(b.u())]
        sku = 0
        for _ in range(b.u()):
            sku = sku + unzigzag(b.u()) & M64
            price, mixed = unzigzag(b.u()), b.u()
            self.articles.append({"sku": sku, "price": price, "tax": rates[mixed // 4], "sold": min(mixed % 4, 2)})
        for _ in range(b.u()):
            column, situation, nodes, at = b.u(), b.u(), {}, 0
            for _ in range(b.u()):
                at += b.u()
                one, seen = b.take(2)
                nodes[at] = (one << 8 | 128, seen)
                at += 1
            self.nodes[column, situation] = nodes
        assert not b.rest()


class Ranges:
    """The range decoder with its statistics."""

    def __init__(self, data, dictionary):
        self.data, self.at, self.range, self.code = data, 0, M32, 0
        self.dictionary, self.nodes = dictionary, {}
        for _ in range(4):
            self.next()

    def next(self):
        byte = self.data[self.at] if self.at < len(self.data) else 0
        self.at += 1
        self.code = (self.code << 8 | byte) & M32

    def decide(self, one):
        bound = (self.range >> 16) * one
        bit = int(self.code < bound)
        if bit:
            self.range = bound
        else:
            self.code, self.range = self.code - bound, self.range - bound
        while self.range < 1 << 24:
            self.next()
            self.range = self.range << 8 & M32
        return bit

    def bit(self, column, situation, at):
        key = (column, situation, at)
        one, seen = self.nodes.get(key) or self.dictionary.nodes.get((column, situation), {}).get(at, (1 << 15, 0))
        bit = self.decide(min(max(one, 24), 65536 - 24))
        step = 131072 // (2 * seen + 3)
        one = one + ((65535 - one) * step >> 16) if bit else one - (one * step >> 16)
        self.nodes[key] = (one, min(seen + 1, 254))
        return bit

    def raw(self, bits):
        value = 0
        for _ in range(bits):
            value = value << 1 | self.decide(1 << 15)
        return value

    def number(self, column, situation, depth):
        if not self.bit(column, situation, 0):
            return 0
        path = 1
        for _ in range(6):
            path = path << 1 | self.bit(column, situation, path)
        below = path - 64
        adaptive = min(below, depth)
        base, path = 64 + (1 << adaptive) + (below - adaptive << depth), 1
        for _ in range(adaptive):
            path = path << 1 | self.bit(column, situation, base + path)
        return path << below - adaptive | self.raw(below - adaptive)


class Columns:
    def __init__(self, log, first, payload, dictionary):
        b = Bytes(payload)
        head = b.u()
        if head & 1:
            import zstandard

            frame = b"\x28\xb5\x2f\xfd" + b.sized()
            known = zstandard.ZstdCompressionDict(dictionary.zstd) if dictionary.zstd else None
            self.side = Bytes(zstandard.ZstdDecompressor(dict_data=known).decompress(frame, max_output_size=head >> 1))
            assert len(self.side.data) == head >> 1
        else:
            self.side = Bytes(b.take(head >> 1))
        self.coder = Ranges(b.rest(), dictionary)
        self.log, self.seq = log, first
        self.code = self.at = self.clock = 0
        self.articles = {a["sku"]: dict(a) for a in dictionary.articles}
        self.skus = [a["sku"] for a in dictionary.articles]
        self.texts = [list(t) for t in dictionary.texts]
        self.last, self.beside, self.recent, self.weighings = {}, {}, [], []
        self.net, self.due, self.closing = None, 0, False

    def near(self, column, situation, predicted):
        return wrap(predicted + unzigzag(self.coder.number(column, situation, 3)))

    def record(self):
        n = self.coder.number
        self.code = n(0, self.code, 6)
        if self.code == 0:
            return self.side.take(n(4, 0, 3))
        kind = n(5, 0, 6) if self.code == 1 else None
        self.at = wrap(self.at + unzigzag(n(2, self.code, 4)))
        self.clock = wrap(self.clock + unzigzag(n(3, 0, 3)))
        if kind is not None:
            body = self.side.take(n(4, 1, 3))
        else:
            kind, _, _ = LAYOUTS[self.code - 2]
            body = self.row(self.code - 2)[0]
        return leb(kind) + leb(zigzag(self.at)) + leb(self.clock & M64) + leb(len(body)) + body

    def row(self, number):
        _, fields, order = LAYOUTS[number]
        row, parts, absent = [0] * len(fields), [b""] * len(fields), set()
        for at in order or range(len(fields)):
            if at in absent:
                continue
            wire, *model = fields[at]
            column = 16 * number + at
            if wire == "o":
                sold = self.article(row, 0)["sold"] if number in (48, 50) and at == 7 else 0
                row[at] = self.coder.number(column, sold, 3)
                parts[at] = bytes([row[at]])
                if not row[at]:
                    absent |= set(range(at + 1, at + 1 + model[0]))
            elif wire == "l":
                row[at] = self.coder.number(column, 0, 3)
                parts[at] = leb(row[at]) + self.rows(model[0], row[at])
            else:
                row[at] = value = self.field(column, model, row)
                if wire == "u":
                    parts[at] = leb(value & M64)
                elif wire == "i":
                    parts[at] = leb(zigzag(wrap(value)))
                elif wire == "t":
                    parts[at] = leb(len(value)) + value
                else:
                    parts[at] = value.to_bytes(8, "big")
        if number == 2:
            self.weighings = [(self.seq, row[1])] + self.weighings[:63]
        elif number in (11, 15, 22):
            self.refer(self.seq)
        elif number == 17:
            self.article(row, 0)["price"] = row[3]
        return b"".join(parts), row

    def rows(self, inner, count):
        out, tenders = b"", inner in (49, 51)
        if not tenders:
            self.due = 0
        for i in range(count):
            self.net = None
            if tenders:
                self.closing = i + 1 == count
            part, row = self.row(inner)
            out += part
            if inner in (48, 50):
                self.due = wrap(self.due + row[5])
            elif tenders:
                self.due = wrap(self.due - row[1])
        return out

    def article(self, row, slot):
        return self.articles.setdefault(row[slot], {"sku": row[slot], "price": None, "tax": None, "sold": 0})

    def refer(self, seq):
        self.recent = ([seq] + [s for s in self.recent if s != seq])[:64]

    def back(self, column):
        return wrap(self.seq - unzigzag(self.coder.number(column, 0, 3))) & M64

    def name(self, column, group):
        n, table = self.coder.number, self.texts[group]
        at = n(column, min(self.last.get(column, 0), 63), 6)
        if at == 0:
            table.append(self.side.take(n(column, 64, 3)))
            at = len(table)
        self.last[column] = at
        return table[at - 1]

    def field(self, column, model, row):
        n, (what, *args) = self.coder.number, model
        if what == "plain":
            return self.near(column, 0, 0)
        if what == "delta":
            self.last[column] = self.near(column, 0, self.last.get(column, 0))
            return self.last[column]
        if what in ("count", "last"):
            key = (column, row[args[0]])
            known = self.beside.get(key)
            predicted = 0 if known is None else wrap(known + (what == "count"))
            self.beside[key] = self.near(column, int(known is None), predicted)
            return self.beside[key]
        if what == "near":
            return self.near(column, 0, row[args[0]])
        if what == "before":
            return self.near(column, 0, self.at)
        if what == "minute":
            return self.near(column, 0, self.at - self.at % 60000 - 60000)
        if what == "epoch":
            return self.near(column, 0, self.log[2])
        if what == "back":
            return self.back(column)
        if what == "again":
            at = n(column, 1, 3)
            value = self.recent[at - 1] if at else self.back(column)
            self.refer(value)
            return value
        if what == "weighed":
            at = n(column, 1, 3)
            if not at:
                return self.back(column)
            seq, self.net = self.weighings.pop(at - 1)
            return seq
        if what == "name":
            return self.name(column, args[0])
        if what == "sku":
            if not n(1, 1, 3):
                return self.skus[n(1, 0, 12)]
            sku = n(1, 2, 6)
            if sku not in self.articles or sku not in self.skus:
                self.skus.append(sku)
                self.articles.setdefault(sku, {"sku": sku, "price": None, "tax": None, "sold": 0})
            return sku
        if what == "noise":
            return self.coder.raw(64)
        if what == "tender":
            return self.near(column, int(self.closing), self.due)
        if what == "amount":
            product = row[args[0]] * row[args[1]]
            half = -500 if product < 0 else 500
            full = abs(product + half) // 1000 * (-1 if product + half < 0 else 1)
            return self.near(column, 0, wrap((full if -(1 << 63) <= full < 1 << 63 else 0) - row[args[2]]))
        a = self.article(row, args[0])
        if what == "price":
            other = a.get("other")
            choice = n(column, (a["price"] is not None) + (other is not None), 3)
            if choice == 0:
                return a["price"]
            value = other if choice == 1 else self.near(column, 3 + (a["price"] is not None), a["price"] or 0)
            if choice == 1:
                a["other"], a["price"] = a["price"], value
            else:
                a["price" if a["price"] is None else "other"] = value
            return value
        if what == "tax":
            a["tax"] = self.near(column, int(a["tax"] is None), a["tax"] or 0)
            return a["tax"]
        if what == "lot":
            if "lot" in a and not n(column, 65, 3):
                return a["lot"]
            a["lot"] = self.name(column, LOT)
            return a["lot"]
        assert what == "quantity"
        if args[1] != args[0] and self.net is not None and not n(column, 12, 3):
            a["sold"] = 2
            return self.net
        step = n(column, a["sold"], 3)
        value = wrap(unzigzag(n(column, 3 + 3 * a["sold"] + step, 4)) * [1000, 5, 1][step])
        a["sold"] = 1 if step == 0 else 2
        return value


# --- messages --------------------------------------------------------------------------------------------------------
def log_id(b):
    return b.u(), b.take(1)[0], b.u()


def block_v1(message):
    b = Bytes(message)
    assert b.take(2) == b"\x01\x00", "not a version 1 block"
    log, first, prev, link = log_id(b), b.u(), b.take(32), b.take(32)
    records = [b.sized() for _ in range(b.u())]
    assert not b.rest()
    end = prev
    for i, record in enumerate(records):
        end = next_link(end, log, first + i, record)
    assert end == link, "the records do not hash to the link"
    return log, first, prev, link, records


def block_v2(body, dictionaries, prev):
    b = Bytes(body)
    log, first, count = log_id(b), b.u(), b.u()
    start = b.take(8)
    assert prev is None or start == prev[:8], "another chain"
    check = b.take(4)
    seal = b.take(64) if b.take(1)[0] else None
    codec = b.take(1)[0]
    if codec == 0:
        records = [b.sized() for _ in range(count)]
        assert not b.rest()
    else:
        assert codec == 1
        dictionary = dictionaries[b.u()]
        columns = Columns(log, first, b.rest(), dictionary)
        records = []
        for _ in range(count):
            records.append(columns.record())
            columns.seq += 1
        assert columns.coder.at >= len(columns.coder.data) and not columns.side.rest()
    end = start + bytes(24)
    for i, record in enumerate(records):
        end = next_link(end, log, first + i, record)
    assert end[:4] == check, "the records do not match the checksum"
    return log, first, seal, records


def read(page):
    text = open(page, encoding="utf-8").read()
    return {name: bytes.fromhex("".join(body.split())) for name, body in re.findall(r"```hex ([\w-]+)\n(.*?)```", text, re.S)}


def check_pairs(examples, dictionaries):
    """Every block of version 1 has a packed twin with the same records; gives the records of each."""
    pairs = {}
    for name in sorted(n for n in examples if n.startswith("block-v1")):
        log, first, prev, _, records = block_v1(examples[name])
        other = "block-v2" + name[len("block-v1") :]
        log2, first2, _, records2 = block_v2(examples[other], dictionaries, prev)
        assert (log, first, records) == (log2, first2, records2), f"{name} and {other} differ"
        if first == 1:
            assert prev == genesis(log), f"{name} does not begin the chain"
        print(f"{name}, {other}: {len(records)} records, {len(examples[name])} and {len(examples[other])} bytes, chain ok")
        pairs[name] = records
    assert pairs, "no blocks"
    return pairs


def option(b, read):
    flag = b.take(1)[0]
    assert flag in (0, 1), "an option is 0 or 1"
    return read(b) if flag else None


def ack(b):
    return {"log": log_id(b), "upto": b.u(), "link": b.take(32), "gap": option(b, lambda b: (b.u(), b.u()))}


def text(b):
    return b.sized().decode("utf-8")


def position(b):
    return log_id(b), b.u()


def message(data, dictionaries):
    """A message of either version, with nothing left over."""
    b = Bytes(data)
    version, number = b.take(1)[0], b.take(1)[0]
    assert version in (1, 2)
    if number in (0, 4):
        inner = b.take(1)[0] if number == 4 else version
        assert inner == 2, "blocks of version 1 are read by block_v1"
        log, first, seal, records = block_v2(b.rest(), dictionaries, None)
        return {"version": version, "number": number, "log": log, "first": first, "seal": seal, "records": records}
    if number == 1:
        said = ack(b)
    elif number == 2:
        said = {"store": b.u(), "head": option(b, position), "down": option(b, ack), "software": text(b)}
    else:
        assert number == 3
        said = {"code": text(b), "detail": text(b), "of": option(b, lambda b: (log_id(b), b.u(), b.u()))}
    if version == 2 and number in (1, 2):
        said["versions"] = b.take(1)[0], b.take(1)[0]
    if version == 2 and number == 2:
        said["older"] = [position(b) for _ in range(b.u())]
    assert not b.rest(), "bytes after the message"
    return {"version": version, "number": number, **said}


def check_messages(examples, dictionaries, day):
    names = sorted(name for name in examples if name.startswith("message-"))
    said = {name: message(examples[name], dictionaries) for name in names}
    up, down, older = (7, 0, 1790000000), (7, 1, 1790000000), (7, 0, 1780000000)
    for version in (1, 2):
        of = lambda name: said[f"message-v{version}-{name}"]
        assert all(of(name)["version"] == version for name in ("ack", "ask", "hello", "hello-new", "nak", "nak-version"))
        acked = {"log": up, "upto": 300, "link": b"\x01" * 32}
        assert acked.items() <= of("ack").items() and of("ack")["gap"] is None
        assert acked.items() <= of("ask").items() and of("ask")["gap"] == (301, 310)
        have = {"log": down, "upto": 40, "link": b"\x02" * 32, "gap": None}
        full = {"store": 7, "head": (up, 305), "down": have, "software": "edge-agent 0.1.0"}
        assert full.items() <= of("hello").items()
        assert {"store": 7, "head": None, "down": None, "software": ""}.items() <= of("hello-new").items()
        assert of("nak")["code"] == "chain-break" and of("nak")["of"] == (up, 301, 305)
        assert of("nak-version")["code"] == "wire-version" and of("nak-version")["of"] is None
    assert said["message-v2-hello"]["older"] == [(older, 12345)] and said["message-v2-hello-new"]["older"] == []
    assert all(said[f"message-v2-{name}"]["versions"] == (1, 2) for name in ("ack", "ask", "hello", "hello-new"))
    block, live = said["message-v2-block"], said["message-v2-live"]
    assert (block["first"], block["records"], block["seal"]) == (1, day, None)
    assert (live["number"], live["first"], live["records"], live["seal"]) == (4, 7, day[1:3], b"\xa5" * 64)
    print(f"{len(names)} messages of both versions read")


def main(page, dictionary, *more):
    dictionaries = {0: Dictionary(), 1: Dictionary(open(dictionary, "rb").read())}
    examples = read(page)
    assert genesis((7, 0, 1790000000)) == examples["genesis"], "genesis"
    pairs = check_pairs(examples, dictionaries)
    assert examples["record-sale"] in pairs["block-v1-day"], "the sale is not in its block"
    check_messages(examples, dictionaries, pairs["block-v1-day"])
    for further in more:
        check_pairs(read(further), dictionaries)
    print("ok")


if __name__ == "__main__":
    main(*sys.argv[1:])
