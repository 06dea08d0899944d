"""Quarters of small networks under both pool rules, computed from spec/settlement.md with exact fractions.

A test is a list of events in the order of a log, each with its time; `close` says which quarter is closed over all events
before it. Accounts, nodes and providers are numbers; an id is that number in each of its 32 bytes. `pay` names the
account, micro-units, the paid period, and the tokens of its lot, which starts with the period; `free` grants tokens that
nobody paid for; `serve` debits an account for a request that nodes made forwards for; `refund` names a payment by its
place among the payments; `dispute` does too, with the dispute's number and all that it holds back from now on;
`correct` answers a dispute of a provider's share of a closed quarter with so many cents.
"""

import random
from datetime import datetime, timezone
from fractions import Fraction
from math import floor

NOTES = {}
HOUR, DAY, CENT = 3600, 86400, 10_000
# For how long a lot is in force after the entry that takes its payment back.
GRACE = 60
START = int(datetime(2026, 10, 1, tzinfo=timezone.utc).timestamp())
QUARTERS = {
    "2026Q4": int(datetime(2027, 1, 1, tzinfo=timezone.utc).timestamp()),
    "2027Q1": int(datetime(2027, 4, 1, tzinfo=timezone.utc).timestamp()),
    "2027Q2": int(datetime(2027, 7, 1, tzinfo=timezone.utc).timestamp()),
}


def remainders(total, claims):
    """Whole numbers that sum to the total, by exact claims: floors, then one each to the largest fractions, ties by id."""
    exact = {k: Fraction(v) for k, v in claims.items()}
    out = {k: floor(v) for k, v in exact.items()}
    for k in sorted(exact, key=lambda k: (out[k] - exact[k], k))[: total - sum(out.values())]:
        out[k] += 1
    assert sum(out.values()) == total
    return out


def credits(tokens, forwards):
    micro, total = tokens * 10**6, sum(forwards.values())
    return remainders(micro, {n: Fraction(micro * f, total) for n, f in forwards.items()}) if total else {}


class Network:
    def __init__(self):
        self.rules = ("pro-rata", 7000, 1000)
        self.payments, self.lots, self.owners, self.tiers, self.hours = [], [], {}, {}, []
        self.providers, self.served, self.statements, self.events = set(), [], [], 0
        self.corrections, self.corrected = [], {}

    def tier(self, node, when):
        of = [(since, tier) for since, tier in self.tiers.get(node, []) if since <= when]
        return of[-1][1] if of and when < of[-1][0] + 7 * DAY else 1

    def take(self, event):
        name, at, *rest = event
        getattr(self, name)(at, *rest)
        self.events += 1

    def put(self, at, rule, pool, uptime):
        self.rules = (rule, pool, uptime)

    def register(self, at, provider, nodes):
        self.owners = {n: p for n, p in self.owners.items() if p != provider}
        self.owners.update({n: provider for n in nodes})
        self.providers.add(provider)

    def attest(self, at, node, tier):
        self.tiers.setdefault(node, []).append((at, tier))

    def up(self, at, hour, nodes):
        self.hours.append((self.events, hour, nodes))

    def pay(self, at, account, amount, starts, ends, tokens, expires):
        payment = {"amount": amount, "starts": starts, "ends": ends, "event": self.events, "refunds": [], "disputes": {}}
        payment["lot"] = {"account": account, "left": tokens, "starts": starts, "ends": expires, "paid": True, "served": []}
        self.payments.append(payment)
        self.lots.append(payment["lot"])

    def free(self, at, account, tokens, expires):
        self.lots.append({"account": account, "left": tokens, "starts": at, "ends": expires, "paid": False, "served": []})

    def refund(self, at, payment, amount):
        of = self.payments[payment]
        of["refunds"].append((self.events, amount))
        if sum(a for _, a in of["refunds"]) - sum(of["disputes"].values()) == of["amount"]:
            of["lot"]["ends"] = min(of["lot"]["ends"], at + GRACE)

    def dispute(self, at, payment, number, amount):
        """So much of a payment is held back by a dispute from now on; what is given again counts against refunds."""
        of = self.payments[payment]
        of["refunds"].append((self.events, amount - of["disputes"].get(number, 0)))
        of["disputes"][number] = amount
        held, rests = any(of["disputes"].values()), of["lot"].get("rests")
        of["lot"]["rests"] = (rests or at + GRACE) if held else None

    def correct(self, at, quarter, provider, cents):
        """The answer to a dispute of a share: it counts in the quarter that it stands in."""
        self.corrections.append((self.events, cents))
        self.corrected[quarter, provider] = self.corrected.get((quarter, provider), 0) + cents

    def spendable(self, at, account):
        of = [l for l in self.lots if l["account"] == account and l["starts"] <= at < l["ends"] and l["left"] > 0]
        return [l for l in of if not l.get("rests") or at < l["rests"]]

    def serve(self, at, account, tokens, forwards):
        forwards = dict(forwards)
        open_ = self.spendable(at, account)
        paid, left = 0, tokens
        for lot in sorted(open_, key=lambda l: l["ends"]):
            part = min(left, lot["left"])
            if part == 0:
                break
            lot["left"] -= part
            left -= part
            if lot["paid"]:
                paid += part
                for node, micro in credits(part, forwards).items():
                    lot["served"].append((self.events, node, micro * self.tier(node, at)))
        assert left == 0
        for node, micro in credits(paid, forwards).items():
            self.served.append((self.events, node, micro, micro * self.tier(node, at)))

    def recognised(self, payment, at, before_event):
        """What is recognised at a time, of what stood before an event."""
        if payment["event"] >= before_event:
            return 0
        elapsed = min(max(at - payment["starts"], 0), payment["ends"] - payment["starts"])
        line = payment["amount"] * elapsed // (payment["ends"] - payment["starts"])
        return min(line, payment["amount"] - sum(a for e, a in payment["refunds"] if e < before_event))

    def uptime(self, first, provider):
        seconds = {}
        for node in (n for n, p in self.owners.items() if p == provider):
            of = {}
            for event, hour, nodes in self.hours:
                for n, s in nodes:
                    if n == node:
                        early, late = of.get(hour, (0, 0))
                        new = min(s, HOUR - early - late)
                        of[hour] = (early + new, late) if event < first else (early, late + new)
            for hour, (_, late) in of.items():
                seconds[hour] = max(seconds.get(hour, 0), late)
        return sum(seconds.values())

    def close(self, at, quarter):
        until = QUARTERS[quarter]
        last = self.statements[-1] if self.statements else {"event": 0, "carry": 0, "until": None}
        first, end = last["event"], self.events
        rule, pool_bps, uptime_bps = self.rules
        was = lambda p: self.recognised(p, last["until"], first) if last["until"] else 0
        gains = [self.recognised(p, until, end) - was(p) for p in self.payments]
        available = floor(Fraction(sum(gains) * pool_bps, 10_000)) + last["carry"]
        available -= sum(cents for event, cents in self.corrections if event >= first) * CENT
        given = self.by_account(until, first, end, gains, available) if rule == "per-account" else {}
        work = {}
        for event, node, micro, weighted in self.served:
            if event >= first:
                m, w = work.get(node, (0, 0))
                work[node] = (m + micro, w + weighted)
        # A node that worked for tokens that nobody paid for stands there with nothing.
        names = set(self.providers)
        names |= {n for e, ns in self.workers if e >= first for n in ns if n not in self.owners}
        names |= {n for n, micro in given.items() if micro and n not in self.owners}
        rows = {}
        for name in names:
            nodes = [n for n, p in self.owners.items() if p == name] if name in self.providers else [name]
            micro, weighted = (sum(work.get(n, (0, 0))[i] for n in nodes) for i in (0, 1))
            up = self.uptime(first, name) if name in self.providers else 0
            rows[name] = [micro, weighted, up, sum(given.get(n, 0) for n in nodes)]
        if rule == "per-account":
            cents = self.cents_by_account(rows, available, given)
        else:
            cents = self.cents_pro_rata(rows, available, uptime_bps)
        pool = sum(cents.values())
        carry = available - pool * CENT
        self.statements.append({
            "event": end, "carry": carry, "until": until, "rule": rule,
            "result": {
                "quarter": quarter, "revenue": max(sum(gains), 0), "pool": pool, "carry": carry,
                "shares": [[n, cents[n], *rows[n][:3]] for n in sorted(rows)],
            },
        })

    def cents_pro_rata(self, rows, available, uptime_bps):
        pool = max(available, 0) // CENT
        weights, ups = sum(r[1] for r in rows.values()), sum(r[2] for r in rows.values())
        if not weights and not ups:
            return dict.fromkeys(rows, 0)
        u = Fraction(1) if not weights else Fraction(0) if not ups else Fraction(uptime_bps, 10_000)
        exact = {
            n: pool * (u * Fraction(r[2], ups or 1) + (1 - u) * Fraction(r[1], weights or 1)) for n, r in rows.items()
        }
        return remainders(pool, exact)

    def by_account(self, until, first, end, gains, available):
        """Micro-units of each node; `self.common` is what then goes by uptime."""
        _, pool_bps, uptime_bps = self.rules
        rate = Fraction(pool_bps, 10_000) * (1 - Fraction(uptime_bps, 10_000))
        others = [s for s in self.statements if s["rule"] != "per-account"]
        run = others[-1] if others else None
        parts, waits = [], 0
        began = self.statements[-1]["until"] if self.statements else 0
        for payment, gain in zip(self.payments, gains):
            lot, now = payment["lot"], self.recognised(payment, until, end)
            since = now
            if run and payment["event"] < run["event"]:
                since -= self.recognised_with_all_refunds(payment, run["until"])
            earlier = [w for e, _, w in lot["served"] if e < first and w]
            over = max(lot["ends"], payment["ends"]) <= began
            served = [(n, w) for e, n, w in lot["served"] if w and (e >= first or not over)]
            if served:
                parts.append((floor(rate * max(gain if earlier or over else since, 0)), served))
            elif lot["ends"] > until:
                waits += floor(rate * max(since, 0))
        asked = sum(p for p, _ in parts) + waits
        have = max(available, 0)
        given = {}
        for part, served in parts:
            if asked > have:
                part = part * have // asked
            total = sum(w for _, w in served)
            for node in {n for n, _ in served}:
                of_node = sum(w for n, w in served if n == node)
                given[node] = given.get(node, 0) + part * of_node // total
        self.common = 0 if asked > have else have - sum(given.values()) - waits
        return given

    def recognised_with_all_refunds(self, payment, at):
        elapsed = min(max(at - payment["starts"], 0), payment["ends"] - payment["starts"])
        line = payment["amount"] * elapsed // (payment["ends"] - payment["starts"])
        return min(line, payment["amount"] - sum(a for _, a in payment["refunds"]))

    def cents_by_account(self, rows, available, given):
        ups = sum(r[2] for r in rows.values())
        return {n: (r[3] + (self.common * r[2] // ups if ups else 0)) // CENT for n, r in rows.items()}


def run(events):
    network = Network()
    network.workers = []
    for event in events:
        if event[0] == "serve":
            network.workers.append((network.events, [n for n, f in event[4] if f]))
        network.take(event)
    return [s["result"] for s in network.statements]


def month(n):
    """Midnight of the first of a month, counted from October 2026."""
    year, index = divmod(9 + n, 12)
    return int(datetime(2026 + year, index + 1, 1, tzinfo=timezone.utc).timestamp())


def subscribe(at, account, n, dollars=5, tokens=500_000):
    return ["pay", at, account, dollars * 10**6, month(n), month(n + 1), tokens, month(n + 2)]


def two_rules(rule):
    """Two payers of whom one is served; what the other paid waits for its lot's end."""
    return [
        ["put", START, rule, 7000, 1000], ["register", START, 81, [1]], ["register", START, 82, [2]],
        subscribe(START, 1, 0), subscribe(START, 2, 0), ["attest", START, 1, 4],
        ["serve", START, 1, 1000, [[1, 4]]], ["up", START, START, [[1, 3600], [2, 1800]]],
        ["close", month(3), "2026Q4"], subscribe(month(3), 3, 3), ["serve", month(3), 3, 10, [[2, 8], [3, 4]]],
        ["close", month(6), "2027Q1"],
    ]


def late_service(rule):
    """A lot of December is spent in January: its money waits for the nodes that serve it then."""
    return [
        ["put", START, rule, 7000, 1000], ["register", START, 81, [1]], ["register", START, 82, [2]],
        subscribe(month(2), 1, 2), subscribe(month(2), 2, 2), ["serve", month(2), 2, 5, [[2, 4]]],
        ["up", month(2), month(2), [[2, 3600]]], ["close", month(3), "2026Q4"],
        ["serve", month(3), 1, 7, [[1, 4], [2, 4]]], ["serve", month(3), 2, 5, [[1, 4]]], ["close", month(6), "2027Q1"],
        ["close", month(9), "2027Q2"],
    ]


def chargeback(rule):
    """A whole payment is taken back after its quarter was closed: the next pools make up for it."""
    return [
        ["put", START, rule, 7000, 1000], ["register", START, 81, [1, 2]],
        subscribe(START, 1, 0, 20), ["serve", START, 1, 9, [[1, 4]]], ["close", month(3), "2026Q4"],
        ["refund", month(3), 0, 20 * 10**6], subscribe(month(3), 2, 3), ["serve", month(3), 2, 9, [[2, 4], [3, 4]]],
        ["up", month(3), month(3), [[1, 60]]], ["close", month(6), "2027Q1"],
        subscribe(month(6), 2, 6, 50), ["serve", month(6), 2, 9, [[3, 4]]], ["close", month(9), "2027Q2"],
    ]


def disputed(rule):
    """A dispute holds a payment back, is won after the quarter's close, and its lot is spent again; another one is lost."""
    return [
        ["put", START, rule, 7000, 1000], ["register", START, 81, [1]], ["register", START, 82, [2]],
        subscribe(month(1), 1, 1), subscribe(month(1), 2, 1), ["serve", month(1), 1, 9, [[1, 4]]], ["serve", month(1), 2, 5, [[2, 4]]],
        ["dispute", month(1) + DAY, 0, 1, 5_000_000], ["up", month(2), month(2), [[1, 3600], [2, 3600]]],
        ["close", month(3), "2026Q4"], subscribe(month(3), 3, 3), ["serve", month(3), 3, 10, [[1, 8], [2, 4]]],
        ["dispute", month(3) + 1, 1, 2, 2_000_001], ["dispute", month(3) + 2, 0, 1, 0],
        ["close", month(6), "2027Q1"], ["dispute", month(6), 2, 3, 5_000_000], ["close", month(9), "2027Q2"],
    ]


def corrected(rule):
    """Two shares of a closed quarter are contested: one is raised, the other raised and taken back; later pools bear it."""
    return [
        ["put", START, rule, 7000, 1000], ["register", START, 81, [1]], ["register", START, 82, [2]],
        subscribe(START, 1, 0), subscribe(START, 2, 0), ["serve", START, 1, 9, [[1, 4]]], ["serve", START, 2, 9, [[2, 4]]],
        ["up", START, START, [[1, 3600], [2, 3600]]], ["close", month(3), "2026Q4"], subscribe(month(3), 1, 3, 50),
        ["correct", month(3) + DAY, "2026Q4", 81, 123], ["correct", month(3) + 2 * DAY, "2026Q4", 82, 7],
        ["correct", month(3) + 30 * DAY - 1, "2026Q4", 82, -7], ["serve", month(4), 1, 9, [[1, 4], [2, 8]]],
        ["close", month(6), "2027Q1"], ["correct", month(6), "2027Q1", 82, 700], ["close", month(9), "2027Q2"],
    ]


def changed_rule(first, second):
    """The last payment is of a period that began under the rule before, and is known only after it."""
    return [
        ["put", START, first, 7000, 1000], ["register", START, 81, [1]], subscribe(month(2), 1, 2), subscribe(month(2), 2, 2),
        ["serve", month(2), 2, 5, [[2, 4]]], ["close", month(3), "2026Q4"], ["put", month(3), second, 6000, 500],
        ["serve", month(3), 1, 5, [[2, 4]]], ["serve", month(3), 2, 5, [[1, 4]]],
        ["pay", month(3), 3, 9 * 10**6, month(1), month(4), 1_000, month(5)], ["serve", month(3), 3, 4, [[1, 4]]],
        ["close", month(6), "2027Q1"],
    ]


def seeded(seed, rule):
    rng = random.Random(f"settlement {seed}")
    events = [["put", START, rule, 7000, 1000]]
    providers = {80 + p: sorted(rng.sample(range(1, 9), rng.randint(1, 3))) for p in range(1, 4)}
    events += [["register", START, p, nodes] for p, nodes in providers.items()]
    network, payments = Network(), 0
    network.workers = []
    for event in events:
        network.take(event)
    at = START

    def add(event):
        events.append(event)
        if event[0] == "serve":
            network.workers.append((network.events, [n for n, f in event[4] if f]))
        network.take(event)

    for quarter, name in enumerate(("2026Q4", "2027Q1", "2027Q2")):
        for _ in range(rng.randint(4, 14)):
            at = rng.randint(at, month(3 * quarter + 3) - 1)
            what, account = rng.choice(["pay", "pay", "serve", "serve", "serve", "up", "attest", "refund", "dispute", "free"]), rng.randint(1, 4)
            if what == "pay":
                ends = at + rng.randint(10, 92) * DAY
                tokens = rng.randint(1, 500_000)
                add(["pay", at, account, rng.randint(1, 60_000_000), at, ends, tokens, ends + rng.randint(0, 31) * DAY])
                payments += 1
            elif what == "free" and not any(l["account"] == account and not l["paid"] for l in network.lots):
                add(["free", at, account, 50_000, at + 62 * DAY])
            elif what == "refund" and payments:
                payment = rng.randrange(payments)
                of = network.payments[payment]
                left = of["amount"] - sum(a for _, a in of["refunds"])
                if left:
                    add(["refund", at, payment, rng.choice([left, rng.randint(1, left)])])
            elif what == "dispute" and payments:
                payment, number = rng.randrange(payments), rng.randint(1, 2)
                of = network.payments[payment]
                held = of["disputes"].get(number, 0)
                left = of["amount"] - sum(a for _, a in of["refunds"]) + held
                new = rng.choice([left, 0, rng.randint(0, left)])
                if new != held:
                    add(["dispute", at, payment, number, new])
            elif what == "serve":
                free = sum(l["left"] for l in network.spendable(at, account))
                if free:
                    nodes = sorted(rng.sample(range(1, 9), rng.randint(0, 3)))
                    add(["serve", at, account, rng.randint(1, free), [[n, 4 * rng.randint(1, 9)] for n in nodes]])
            elif what == "up":
                nodes = sorted(rng.sample(range(1, 9), rng.randint(1, 4)))
                add(["up", at, at // HOUR * HOUR, [[n, rng.randint(0, 3600)] for n in nodes]])
            elif what == "attest":
                add(["attest", at, rng.randint(1, 8), rng.randint(1, 4)])
        at = month(3 * quarter + 3)
        add(["close", at, name])
        last = network.statements[-1]["result"]
        for provider in rng.sample(sorted(providers), rng.randint(0, 2)):
            cents = rng.randint(0, last["pool"])
            if cents:
                at = rng.randint(at, month(3 * quarter + 3) + 30 * DAY - 1)
                add(["correct", at, name, provider, cents])
    return events


def groups():
    made = [
        ("two payers, one of them served", two_rules), ("served after its quarter", late_service),
        ("taken back after its quarter", chargeback), ("disputed and won, disputed and lost", disputed),
        ("contested and corrected", corrected),
    ]
    out = []
    for rule, other in (("pro-rata", "per-account"), ("per-account", "pro-rata")):
        tests = [(about, make(rule)) for about, make in made]
        tests.append((f"{rule} after {other}", changed_rule(other, rule)))
        tests += [(f"seed {seed}", seeded(seed, rule)) for seed in range(16)]
        tests = [{"comment": about, "flags": [], "events": events, "quarters": run(events), "result": "valid"} for about, events in tests]
        out.append({"type": "Quarters", "about": rule, "tests": tests})
    return out
