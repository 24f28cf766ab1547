"""The inner loops of top-n, compiled: with this module comes numba, which takes half a second.

A candidate is one number: its score, best first, in the upper half, and the caller's item below, so that the
least is the best and ties go to the item that comes first. Its score may be a product's until the end.
"""

# mypy does not know what numba makes of functions.

from __future__ import annotations

import numpy as np

from recsys.compiled import compiled

NOTHING = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_SIGN = np.uint32(0x8000_0000)
_REST = np.uint32(0x7FFF_FFFF)
#: Products compared at once, without a branch.
_STRIDE = 64
#: Candidates over n at the end of a block from which it pays to raise the bar.
_SURPLUS = 32


@compiled()
def _candidate(score, item):  # type: ignore[no-untyped-def]
    # Adding 0 makes one zero of two.
    bits = np.float32(score + np.float32(0)).view(np.uint32)
    upper = bits if bits & _SIGN else np.uint32(bits ^ _REST)
    return (np.uint64(upper) << np.uint64(32)) | np.uint64(item)


@compiled()
def _score(candidate):  # type: ignore[no-untyped-def]
    upper = np.uint32(candidate >> np.uint64(32))
    return np.uint32(upper if upper & _SIGN else upper ^ _REST).view(np.float32)


@compiled()
def _pair_score(x, y, terms):  # type: ignore[no-untyped-def]
    """Do what `pair_scores` does, to the bit; `terms` is zero where there are no factors."""
    for k in range(len(x)):
        terms[k] = np.float64(x[k]) * np.float64(y[k])
    half = len(terms) >> 1
    while half >= 8:
        for k in range(half):
            terms[k] += terms[k + half]
        half >>= 1
    even, odd = (terms[0] + terms[4]) + (terms[2] + terms[6]), (terms[1] + terms[5]) + (terms[3] + terms[7])
    return np.float32(even + odd)


@compiled()
def _rescore(candidates, x, shelf, terms):  # type: ignore[no-untyped-def]
    for j in range(len(candidates)):
        item = np.uint32(candidates[j])
        candidates[j] = _candidate(_pair_score(x, shelf.factors[shelf.places[item]], terms), item)


@compiled()
def _bring_forward(candidates, n):  # type: ignore[no-untyped-def]
    """Bring the n least to the front, in any order, and give the largest of them (Hoare's selection)."""
    low, high, place = 0, len(candidates) - 1, n - 1
    while low < high:
        pivot = candidates[(low + high) >> 1]
        i, j = low, high
        while i <= j:
            while candidates[i] < pivot:
                i += 1
            while candidates[j] > pivot:
                j -= 1
            if i <= j:
                candidates[i], candidates[j] = candidates[j], candidates[i]
                i += 1
                j -= 1
        if j < place < i:
            break
        low, high = (low, j) if place <= j else (i, high)
    return candidates[place]


@compiled()
def _raise_bar(candidates, n, slack):  # type: ignore[no-untyped-def]
    """Bring the n best forward; give what others must reach, rounded down."""
    bar = np.float64(_score(_bring_forward(candidates, n))) - slack
    return np.float32(bar - abs(bar) * 1.2e-7)


@compiled()
def _shorten(desk, u, count, x, shelf, terms):  # type: ignore[no-untyped-def]
    """Drop candidates that cannot be among the n best; give how many are left, and the bar."""
    own, n, slack = desk.candidates[u], desk.n, desk.slacks[u]
    bar = _raise_bar(own[:count], n, slack)
    kept = n
    for j in range(n, count):
        if _score(own[j]) >= bar:
            own[kept], own[j] = own[j], own[kept]
            kept += 1
    if kept > (n + len(own)) >> 1:
        # Too many lie too close for products to tell them apart.
        _rescore(own[:kept], x, shelf, terms)
        bar = _raise_bar(own[:kept], n, slack)
        kept = n
    return kept, bar


@compiled()
def _find_reaching(row, bar, places):  # type: ignore[no-untyped-def]
    """Write where a row reaches the bar; give their number."""
    found, whole = 0, len(row) - len(row) % _STRIDE
    for start in range(0, whole, _STRIDE):
        reaching = np.int32(0)
        for j in range(start, start + _STRIDE):
            reaching = np.int32(reaching + np.int32(row[j] >= bar))
        if reaching:
            for j in range(start, start + _STRIDE):
                places[found] = j
                found += row[j] >= bar
    for j in range(whole, len(row)):
        places[found] = j
        found += row[j] >= bar
    return found


@compiled()
def _collect(desk, u, row, first, x, shelf, terms, places):  # type: ignore[no-untyped-def]
    """Add the items of one user that reach the bar."""
    own, count, bar = desk.candidates[u], desk.counts[u], desk.bars[u]
    for place in places[: _find_reaching(row, bar, places)]:
        if row[place] >= bar and row[place] > -np.inf:
            own[count] = _candidate(row[place], shelf.names[first + place])
            count += 1
            if count == len(own):
                count, bar = _shorten(desk, u, count, x, shelf, terms)
    if count >= desk.n + _SURPLUS:
        count, bar = _shorten(desk, u, count, x, shelf, terms)
    desk.counts[u], desk.bars[u] = count, bar


@compiled()
def _leave_out(desk, u, row, first):  # type: ignore[no-untyped-def]
    at, end = desk.seen_from[u], desk.seen_to[u]
    while at < end and desk.seen[at] < first + len(row):
        row[desk.seen[at] - first] = -np.inf
        at += 1
    desk.seen_from[u] = at


@compiled()
def collect_block(products, first, reach, desk, shelf, rows, left, terms):  # type: ignore[no-untyped-def]
    """Take in the products of the users left with the items from `first`.

    `rows` and `left` name those users and hold their factors. Users to whom no item matters that
    scores at most `reach` with a user of length 1 are taken out of both; the number of those left is given.
    """
    places = np.empty(products.shape[1] + 1, np.int64)
    kept = 0
    for r in range(len(products)):
        u = rows[r]
        _leave_out(desk, u, products[r], first)
        _collect(desk, u, products[r], first, left[r], shelf, terms, places)
        if desk.lengths[u] * reach >= desk.bars[u]:
            rows[kept] = u
            left[kept] = left[r]
            kept += 1
    return kept


@compiled()
def finish_block(desk, shelf, terms):  # type: ignore[no-untyped-def]
    """Score the candidates to the bit; nothing stands behind them."""
    for u in range(len(desk.counts)):
        count, x = desk.counts[u], desk.users[u]
        if count > desk.n:
            count, _ = _shorten(desk, u, count, x, shelf, terms)
        _rescore(desk.candidates[u, :count], x, shelf, terms)
        desk.counts[u] = count
        desk.candidates[u, count:] = NOTHING
