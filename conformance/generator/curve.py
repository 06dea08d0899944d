"""Points of edwards25519 in affine coordinates, to make the keys and signatures that nobody should accept."""

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)


def add(a, b):
    (x1, y1), (x2, y2) = a, b
    t = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + t, P - 2, P)
    y = (y1 * y2 + x1 * x2) * pow(1 - t, P - 2, P)
    return x % P, y % P


def times(n, point):
    out = (0, 1)
    while n:
        if n & 1:
            out = add(out, point)
        point = add(point, point)
        n >>= 1
    return out


def recover(y, sign):
    """The point with this y, or None."""
    xx = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(xx, (P + 3) // 8, P)
    if (x * x - xx) % P:
        x = x * ROOT_OF_MINUS_ONE % P
    if (x * x - xx) % P:
        return None
    return (P - x if x and x & 1 != sign else x), y


def encode(point):
    x, y = point
    return (y | (x & 1) << 255).to_bytes(32, "little")


def decode(data):
    n = int.from_bytes(data, "little")
    return recover(n % 2**255 % P, n >> 255)


BASE = recover(4 * pow(5, P - 2, P) % P, 0)


def torsion():
    """The eight points of small order, the neutral one first."""
    y = 2
    while True:
        point = recover(y, 0)
        if point:
            eighth = times(L, point)
            if times(4, eighth) != (0, 1):
                return [times(i, eighth) for i in range(8)]
        y += 1
