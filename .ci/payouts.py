"""The payment simulator before Stripe's own client: its signatures, its answers, its errors and its keys.

    payouts.py SIMULATOR
"""

import json
import re
import subprocess
import sys
import time

import stripe

KEY, SECRET = "sk_test_paysim", "whsec_paysim"


def signed(simulator, body, seconds, secret=SECRET):
    command = [simulator, "sign", secret, str(seconds)]
    return subprocess.run(command, input=body.encode(), capture_output=True, check=True).stdout.decode().strip()


def refused(kind, ask):
    try:
        ask()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


def signatures(simulator):
    now = int(time.time())
    event = {"id": "evt_1", "object": "event", "type": "transfer.created", "data": {"object": {"object": "transfer"}}}
    paid = {"id": "in_1", "object": "invoice", "total_excluding_tax": 500, "amount_paid": 595, "status": "paid"}
    paid = event | {"type": "invoice.paid", "data": {"object": paid}}
    bodies = [json.dumps(event), json.dumps(paid), json.dumps(event | {"note": "über €1,000"}, ensure_ascii=False)]
    for body in bodies:
        header = signed(simulator, body, now)
        told = stripe.Webhook.construct_event(body, header, SECRET)
        assert told.id == "evt_1", told
        wrong = stripe.SignatureVerificationError
        refused(wrong, lambda: stripe.Webhook.construct_event(body.replace("evt_1", "evt_2"), header, SECRET))
        refused(wrong, lambda: stripe.Webhook.construct_event(body, header, "whsec_other"))
        old = signed(simulator, body, now - 400)
        refused(wrong, lambda: stripe.Webhook.construct_event(body, old, SECRET))
        # While a secret is changed there are two signatures; one that is known is enough.
        second = signed(simulator, body, now, "whsec_next").split(",")[1]
        assert stripe.Webhook.construct_event(body, f"{header},{second}", "whsec_next").id == "evt_1"
    return f"construct_event agrees on {len(bodies)} bodies, and refuses what was changed, is old or has another secret"


# What the router reads of each object, and the state of a dispute that it must know.
READ = {
    stripe.Invoice: ["status", "currency", "amount_paid", "total_excluding_tax", "parent", "lines"],
    stripe.Charge: ["amount", "amount_refunded", "payment_intent", "disputed"],
    stripe.Dispute: ["id", "amount", "status", "charge"],
    stripe.InvoicePayment: ["invoice", "payment"],
    stripe.InvoiceLineItem: ["period"],
}
STATES = {
    "won", "lost", "prevented", "needs_response", "under_review", "warning_needs_response", "warning_under_review",
    "warning_closed", "appeal_needs_response", "appeal_under_review",
}


def fields():
    for of, names in READ.items():
        missing = [name for name in names if name not in of.__annotations__]
        assert not missing, (of, missing)
    written = set(re.findall(r"'([a-z_]+)'", str(stripe.Dispute.__annotations__["status"])))
    assert written == STATES, written ^ STATES
    return f"the router reads {sum(map(len, READ.values()))} fields that Stripe's client knows, and all {len(STATES)} states of a dispute"


def client(base):
    asked = stripe.StripeClient(KEY, base_addresses={"api": base}, max_network_retries=0)
    wanted = {"stripe_balance": {"stripe_transfers": {"requested": True}}}
    account = asked.v2.core.accounts.create({"configuration": {"recipient": {"capabilities": wanted}}})
    link = asked.v2.core.account_links.create(
        {
            "account": account.id,
            "use_case": {
                "type": "account_onboarding",
                "account_onboarding": {"configurations": ["recipient"], "refresh_url": "https://router.example"},
            },
        }
    )
    assert link.url.startswith("https://connect.stripe.com/"), link
    shown = asked.v2.core.accounts.retrieve(account.id)
    state = shown.configuration.recipient.capabilities.stripe_balance.stripe_transfers.status
    assert state == "restricted", state
    order = {"amount": 2500, "currency": "usd", "destination": account.id, "transfer_group": "g"}
    error = refused(
        stripe.InvalidRequestError, lambda: asked.v1.transfers.create(order, {"idempotency_key": "k"})
    )
    assert error.code == "insufficient_capabilities_for_transfer", error
    error = refused(
        stripe.IdempotencyError,
        lambda: asked.v1.transfers.create(order | {"amount": 2501}, {"idempotency_key": "k"}),
    )
    assert error.http_status == 400, error
    refused(stripe.AuthenticationError, lambda: stripe.StripeClient("sk", base_addresses={"api": base}).v1.balance.retrieve())
    assert asked.v1.balance.retrieve().available[0].amount == 100_000_000
    assert asked.v1.transfers.list({"transfer_group": "g"}).data == []
    return f"stripe {stripe.VERSION} makes accounts and links, and names each refusal as its own"


def main(simulator):
    print(f"ok   {signatures(simulator)}")
    print(f"ok   {fields()}")
    with subprocess.Popen([simulator, "serve"], stdout=subprocess.PIPE, text=True) as serving:
        try:
            print(f"ok   {client(serving.stdout.readline().split()[0])}")
        finally:
            serving.terminate()


if __name__ == "__main__":
    main(sys.argv[1])
