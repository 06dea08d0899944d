"""BLAKE3, from its specification: a plain hash, a keyed one and derive_key. Slow, and that is enough here."""

import struct

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
ORDER = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8
KEYED, CONTEXT, MATERIAL = 16, 32, 64
MASK = 0xFFFFFFFF


def turn(value, by):
    return ((value >> by) | (value << (32 - by))) & MASK


def mix(v, a, b, c, d, x, y):
    v[a] = (v[a] + v[b] + x) & MASK
    v[d] = turn(v[d] ^ v[a], 16)
    v[c] = (v[c] + v[d]) & MASK
    v[b] = turn(v[b] ^ v[c], 12)
    v[a] = (v[a] + v[b] + y) & MASK
    v[d] = turn(v[d] ^ v[a], 8)
    v[c] = (v[c] + v[d]) & MASK
    v[b] = turn(v[b] ^ v[c], 7)


def compress(chain, block, counter, length, flags):
    m = list(struct.unpack("<16I", block.ljust(64, b"\0")))
    v = list(chain) + list(IV[:4]) + [counter & MASK, counter >> 32, length, flags]
    for turn_no in range(7):
        for i, (a, b, c, d) in enumerate(
            ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
             (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
        ):
            mix(v, a, b, c, d, m[2 * i], m[2 * i + 1])
        m = [m[i] for i in ORDER]
    return [v[i] ^ v[i + 8] for i in range(8)]


def tree(data, key, flags, counter=0, root=ROOT):
    """The chaining value of a subtree; the whole tree's is the hash."""
    if len(data) > 1024:
        left = 1024
        while left * 2 < len(data):
            left *= 2
        halves = tree(data[:left], key, flags, counter, 0)
        halves += tree(data[left:], key, flags, counter + left // 1024, 0)
        return compress(key, struct.pack("<16I", *halves), 0, 64, flags | PARENT | root)
    chain = key
    blocks = [data[i : i + 64] for i in range(0, len(data), 64)] or [b""]
    for i, block in enumerate(blocks):
        last = i == len(blocks) - 1
        mode = flags | (CHUNK_START if i == 0 else 0) | ((CHUNK_END | root) if last else 0)
        chain = compress(chain, block, counter, len(block), mode)
    return chain


def plain(data):
    return struct.pack("<8I", *tree(data, IV, 0))


def keyed(key, data):
    return struct.pack("<8I", *tree(data, struct.unpack("<8I", key), KEYED))


def derive(context, material):
    key = tree(context.encode(), IV, CONTEXT)
    return struct.pack("<8I", *tree(material, tuple(key), MATERIAL))
