"""End to end: the release binary, the official OpenAI client, real processes, real signals.

Usage: e2e.py PROGRAM [WORD…]. Each scenario is a function named for the fact that it shows. The last line printed is
"N passed, N failed"; the exit code is 1 if any failed.
"""

import http.client
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from urllib.parse import urlsplit

import openai

sys.path.insert(0, str(Path(__file__).parent))
from program import Program, free_port  # noqa: E402

QUESTION = "What is a consent token?"
MODEL = "guide"
# The attempts to hit a request while it runs; the answer of a small model is over in a tenth of a second.
ATTEMPTS = 8
# The longest request body (spec::limits).
LIMIT_BYTES = 4 * 1024 * 1024

SPLIT = {
    "pool_cents": 105_000,
    "providers": [
        {"id": "a", "tokens": 500_000, "uptime_s": 720 * 3600, "tier": 4},
        {"id": "b", "tokens": 200_000, "uptime_s": 500 * 3600, "tier": 3},
        {"id": "c", "tokens": 50_000, "uptime_s": 300 * 3600, "tier": 1},
    ],
}
SHARES = {"a": 76_295, "b": 24_850, "c": 3_855}


def client(program, key="local"):
    return openai.OpenAI(base_url=program.ready["url"].rstrip("/").removesuffix("/v1") + "/v1", api_key=key, max_retries=0)


def messages(question=QUESTION):
    return [{"role": "user", "content": question}]


def long_messages():
    """A long prompt, so that there is time to hit the request while it runs."""
    return [{"role": "user", "content": " ".join([QUESTION] * 12)}]


def answer(program, key="local", **more):
    """One whole answer; returns (text, usage, finish reason, headers)."""
    raw = client(program, key).chat.completions.with_raw_response.create(
        model=MODEL, messages=more.pop("messages", messages()), temperature=0, **more
    )
    parsed = raw.parse()
    return parsed.choices[0].message.content, parsed.usage, parsed.choices[0].finish_reason, raw.headers


def stream(program, key="local", on_first=None, **more):
    """One answer in pieces; returns (text, usage, finish reasons, the last chunk's own member)."""
    text, usage, finish, own = [], None, [], None
    chunks = client(program, key).chat.completions.create(
        model=MODEL, messages=more.pop("messages", messages()), temperature=0, stream=True,
        stream_options={"include_usage": True}, **more,
    )
    for chunk in chunks:
        own = (chunk.model_extra or {}).get("counterfoil", own)
        usage = chunk.usage or usage
        for choice in chunk.choices:
            if choice.delta.content:
                text.append(choice.delta.content)
                if on_first:
                    on_first()
                    on_first = None
            if choice.finish_reason:
                finish.append(choice.finish_reason)
    return "".join(text), usage, finish, own


def raw_post(program, body, length=None):
    """A request that no well-behaved client sends; returns (status, parsed body)."""
    address = urlsplit(program.ready["url"])
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    try:
        connection.putrequest("POST", "/v1/chat/completions")
        connection.putheader("content-type", "application/json")
        connection.putheader("content-length", str(len(body) if length is None else length))
        connection.endheaders()
        try:
            connection.send(body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # It refused the body before it had all of it, as it may.
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def find(value, key):
    """Every value that stands under a key anywhere in a JSON document."""
    if isinstance(value, dict):
        here = [value[key]] if key in value else []
        return here + [x for v in value.values() for x in find(v, key)]
    if isinstance(value, list):
        return [x for v in value for x in find(v, key)]
    return []


def entries(program, kind):
    """All entries of one kind in the router's log, as (index, document)."""
    size = program.json("audit", "verify")["size"]
    documents = ((i, program.json("audit", "show", i)) for i in range(size))
    return [(i, d) for i, d in documents if kind in find(d, "kind")]


def assert_error(status, body, want_status, want_code=None):
    assert status == want_status, (status, body)
    error = body["error"]
    assert set(error) == {"message", "type", "param", "code"}, error
    assert isinstance(error["message"], str) and error["message"], error
    assert error["code"] == want_code, error


def logs(program):
    """The router's log and those of its local nodes."""
    return [program.home / "log", *sorted((program.home / "nodes").glob("*/log"))]


def assert_all_verify(program):
    for folder in logs(program):
        report = program.json("audit", "verify", "--log-dir", folder)
        assert report["ok"] is True and report["faults"] == [], (str(folder), report)


class Scenarios:
    """Each method runs on a home of its own."""

    def answers_whole_and_in_pieces_are_the_same_and_are_on_record(self, program):
        began = time.monotonic()
        program.start()
        print(f"     ready in {time.monotonic() - began:.2f} s, {program.memory_mib():.0f} MiB in all processes")
        text, usage, finish, headers = answer(program)
        print(f"     {QUESTION} {text.strip()!r}")
        assert "consent" in text.lower(), text
        assert finish == "stop", finish
        assert usage.prompt_tokens > 0 and usage.completion_tokens > 0, usage
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, usage
        assert headers["x-request-id"], dict(headers)
        index = int(headers["x-counterfoil-entry"])
        entry = program.json("audit", "show", index)
        assert "inference" in find(entry, "kind"), entry
        assert find(entry, "prompt_tokens") == [usage.prompt_tokens], entry
        assert find(entry, "completion_tokens") == [usage.completion_tokens], entry
        assert len(find(entry, "works")[0]) >= 1, entry

        pieces, stream_usage, reasons, own = stream(program)
        assert pieces == text, (pieces, text)
        assert stream_usage == usage, (stream_usage, usage)
        assert reasons == ["stop"], reasons
        assert own["entry"] > index and own["request_id"], own
        assert program.interrupt() == 0

    def models_are_listed(self, program):
        program.start()
        assert MODEL in [m.id for m in client(program).models.list()]
        address = urlsplit(program.ready["url"])
        for path in ["/health", "/log/checkpoint", "/"]:
            connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
            connection.request("GET", path)
            response = connection.getresponse()
            assert response.status == 200 and response.read(), (path, response.status)
        assert program.interrupt() == 0

    def limits_stop_an_answer(self, program):
        program.start()
        text, usage, finish, _ = answer(program, max_tokens=3)
        assert (usage.completion_tokens, finish) == (3, "length"), (text, usage, finish)
        whole = answer(program)[0]
        word = whole.split()[2]
        cut, _, finish, _ = answer(program, stop=[word])
        assert finish == "stop" and cut == whole[: whole.index(word)], (cut, whole)
        assert program.interrupt() == 0

    def wrong_requests_are_told_what_is_wrong(self, program):
        program.start()
        assert_error(*raw_post(program, b'{"model": "guide", '), 400)
        assert_error(*raw_post(program, b'{"model": "guide", "messages": []}'), 400)
        unknown = json.dumps({"model": "no-such-model", "messages": messages()}).encode()
        assert_error(*raw_post(program, unknown), 404, "model_not_found")
        too_long = json.dumps({"model": MODEL, "messages": messages("word " * 50_000)}).encode()
        assert_error(*raw_post(program, too_long), 400, "context_length_exceeded")
        assert_error(*raw_post(program, b" " * (LIMIT_BYTES + 1)), 413)
        try:
            client(program).chat.completions.create(model="no-such-model", messages=messages())
            raise AssertionError("an unknown model was answered")
        except openai.NotFoundError as e:
            assert e.status_code == 404, e
        assert answer(program)[2] == "stop", "it no longer answers"
        assert program.interrupt() == 0

    def log_verifies_while_it_grows_and_after(self, program):
        program.start()
        answer(program)
        pins = ["--vkey", program.ready["log_vkey"], "--net-id", program.ready["net_id"]]
        before = program.json("audit", "verify", *pins)
        assert before["ok"] is True and before["faults"] == [], before
        answer(program)
        # The published head follows the committed entries within a moment.
        assert program.json("audit", "verify", *pins)["committed"] > before["committed"]
        other = "a" * 51 + "q"
        assert program.ask("audit", "verify", "--net-id", other)[0] == 1
        assert program.interrupt() == 0
        assert_all_verify(program)

    def one_changed_byte_of_any_file_is_named(self, program):
        program.start()
        for _ in range(3):
            answer(program)
        assert program.interrupt() == 0
        copy = program.home.parent / "copy"
        files = [p for p in (program.home / "log").rglob("*") if p.is_file() and p.stat().st_size > 0]
        assert len(files) >= 2, files
        named = set()
        for file in sorted(files):
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(program.home / "log", copy)
            target = copy / file.relative_to(program.home / "log")
            changed = bytearray(target.read_bytes())
            changed[len(changed) // 2] ^= 1
            target.write_bytes(changed)
            report = program.json(
                "audit", "verify", "--log-dir", copy, "--vkey", program.ready["log_vkey"], code=1
            )
            assert report["ok"] is False and report["faults"], (str(file), report)
            named |= {f["fault"] for f in report["faults"]}
        print(f"     {len(files)} files, faults named: {', '.join(sorted(named))}")

    def second_start_goes_on_where_the_first_stopped(self, program):
        program.start()
        first, text = program.ready, answer(program)[0]
        assert program.interrupt() == 0
        size = program.json("audit", "verify")["size"]
        program.start()
        assert (program.ready["net_id"], program.ready["log_vkey"]) == (first["net_id"], first["log_vkey"])
        assert answer(program)[0] == text
        assert program.interrupt() == 0
        assert program.json("audit", "verify")["size"] > size
        assert_all_verify(program)

    def locked_home_and_used_port_are_refused(self, program):
        program.start()
        second = Program(program.binary, program.home)
        code, _, err = second.ask("run", "--no-browser", "--listen", f"127.0.0.1:{free_port()}")
        assert code == 4 and str(program.home) in err, (code, err)
        port = urlsplit(program.ready["url"]).port
        other = Program(program.binary, program.home.parent / "other")
        code, _, err = other.ask("run", "--no-browser", "--listen", f"127.0.0.1:{port}")
        assert code == 4 and str(port) in err, (code, err)
        assert answer(program)[2] == "stop", "the first one was disturbed"
        assert program.interrupt() == 0

    def answer_survives_the_death_of_a_node(self, program):
        program.start()
        want = stream(program, messages=long_messages())[0]
        for _ in range(ATTEMPTS):
            victim = program.nodes()[0]
            killed = []

            def kill(victim=victim, killed=killed):
                os.kill(victim, signal.SIGKILL)
                killed.append(time.time() * 1000)

            text, _, finish, own = stream(program, on_first=kill, messages=long_messages())
            assert text == want and finish == ["stop"], (finish, text, want)
            ended = find(program.json("audit", "show", own["entry"]), "ended")[0]
            assert program.interrupt() == 0
            assert_all_verify(program)
            if ended > killed[0]:
                return
            program.start()
        raise AssertionError(f"in {ATTEMPTS} attempts no node died while a request ran")

    def crash_loses_nothing_that_was_promised(self, program):
        account = program_account(program)
        for _ in range(ATTEMPTS):
            program.start()
            answer(program, account["key"])
            try:
                stream(program, account["key"], on_first=program.kill_all, messages=long_messages())
            except (openai.APIError, OSError, http.client.HTTPException):
                pass  # The router is gone; that is the point.
            except Exception as e:  # noqa: BLE001
                # The client's transport has error classes of its own for a connection that broke.
                assert "http" in type(e).__module__, e
            program.kill_all()
            program.start()
            assert answer(program, account["key"])[2] == "stop"
            assert program.interrupt() == 0
            assert_all_verify(program)
            inferences = entries(program, "inference")
            spent = sum(d["tokens"] for _, e in inferences for d in (find(e, "debits") or [[]])[0])
            shown = program.json("account", "show", account["id"])
            assert spent > 0, inferences
            assert find(shown, "spent")[0] == spent, (shown, spent)
            assert find(shown, "held")[0] == 0, shown
            if any("crashed" in find(e, "finish") for _, e in inferences):
                return
        raise AssertionError(f"in {ATTEMPTS} attempts no crash hit a request while it ran")

    def earnings_example_is_exact(self, program):
        file = program.home.parent / "split.json"
        file.write_text(json.dumps(SPLIT))
        shares = program.json("earnings", "split", "--input", file, home=False)
        assert {p["id"]: p["total_cents"] for p in shares["providers"]} == SHARES, shares
        assert sum(SHARES.values()) == SPLIT["pool_cents"]
        file.write_text('{"pool_cents": 1.5}')
        assert program.ask("earnings", "split", "--input", file, home=False)[0] == 2
        missing = program.home.parent / "missing.json"
        assert program.ask("earnings", "split", "--input", missing, home=False)[0] == 4

    def unfinished_quarter_is_refused(self, program):
        program.start()
        answer(program)
        assert program.interrupt() == 0
        now = time.gmtime()
        quarter = f"{now.tm_year}Q{(now.tm_mon - 1) // 3 + 1}"
        code, _, err = program.ask("earnings", "settle", "--quarter", quarter)
        assert code == 2 and quarter in err, (code, err)
        size = program.json("audit", "verify")["size"]
        assert program.ask("earnings", "settle", "--quarter", quarter, "--dry-run")[0] == 0
        assert program.json("audit", "verify")["size"] == size

    def logits_are_the_same_in_one_process_and_over_nodes(self, program):
        source = Path(__file__).parent.parent / "model" / "guide" / "checkpoint"
        want = program.json("model", "logits", source, "--tokens", "1,2,3", home=False)
        assert want["tokens"] == [1, 2, 3] and len(want["logits"]) == 3, want["tokens"]
        for flags in [["--nodes", 1], ["--nodes", 2], ["--nodes", 3, "--spread", "experts"]]:
            got = program.json("model", "logits", source, "--tokens", "1,2,3", *flags, home=False)
            assert got["logits"] == want["logits"], flags


def program_account(program):
    """An account with a key, made on a home that nothing runs on."""
    program.start()
    assert program.interrupt() == 0
    account = program.json("account", "create")
    name = find(account, "account")[0] if find(account, "account") else find(account, "id")[0]
    key = find(program.json("account", "key", "create", name), "key")[0]
    return {"id": name, "key": key}


def run(binary, name, scenario):
    folder = Path(tempfile.mkdtemp(prefix="counterfoil-e2e-"))
    program = Program(binary, folder / "home")
    began = time.monotonic()
    try:
        scenario(program)
    except Exception:  # noqa: BLE001
        program.kill_all()
        print(f"FAIL {name} ({time.monotonic() - began:.1f} s)\n{traceback.format_exc()}", flush=True)
        if program.process is not None:
            print(f"     its standard error:\n{program.complaints()}", flush=True)
        print(f"     its folder is kept: {folder}", flush=True)
        return False
    program.kill_all()
    shutil.rmtree(folder, ignore_errors=True)
    print(f"ok   {name} ({time.monotonic() - began:.1f} s)", flush=True)
    return True


def main():
    binary, wanted = sys.argv[1], sys.argv[2:]
    scenarios = Scenarios()
    names = [n for n in vars(Scenarios) if not n.startswith("_") and (not wanted or any(w in n for w in wanted))]
    if not names:
        print(f"no scenario is named like {' '.join(wanted)}", file=sys.stderr)
        return 2
    passed = sum(run(binary, name, getattr(scenarios, name)) for name in names)
    print(f"{passed} passed, {len(names) - passed} failed")
    return 0 if passed == len(names) else 1


if __name__ == "__main__":
    sys.exit(main())
