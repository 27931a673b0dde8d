# SPDX-License-Identifier: Apache-2.0
"""Rows of connection.py: credentials that are broken, too large or made to do harm. Each gets a clear status and one line
in the log, and the worker lives."""
import base64
import os
import pathlib
import struct

from connection_site import ALICE, BOB, REALM, Named, row, row_named, wait_for
from wire import (NTLM_FLAGS, Digest, Wire, basic, der, ntlm, ntlm_authenticate, ntlm_begin, ntlm_message, ntlm_negotiate, ntlm_read,
                  ntlm_response, ntlm_temp, request, spnego_init, token)

HANDSHAKES, BATCH, KIB = 10000, 1000, 1024
SECRET = "h0stile-secret"


def worker_lives(site, pid):
    assert site.main.pids("worker") == [pid]
    with Wire(site.main.port) as wire:
        assert ntlm(wire, "GET", site.alive.url, *ALICE).status == 200


def one_line(site, named, status, reason=True):
    lines = site.settled(site.main, named)
    assert [line["status"] for line in lines] == [status], lines
    assert lines[0].get("error") and (lines[0].get("reason") or not reason), lines[0]
    assert "user" not in lines[0] and SECRET not in str(lines[0]), lines[0]
    return lines[0]


def gets(site, value, status=407, reason=True, fields=()):
    """These credentials are answered so."""
    named, (pid,) = site.asked(), site.main.pids("worker")
    with Wire(site.main.port) as wire:
        response = wire.ask("GET", named.url, value, fields=fields)
        assert response.status == status, response
    line = one_line(site, named, status, reason)
    for secret in (value or "").split()[1:]:
        assert len(secret) < 8 or secret not in str(line), line
    worker_lives(site, pid)


def digest_value(**changes):
    """A list of parameters that is whole, but for what is changed; None: left out."""
    values = {"username": '"alice"', "realm": f'"{REALM}"', "nonce": '"bm9uY2U"', "uri": '"/a"', "algorithm": "MD5", "qop": "auth",
              "nc": "00000001", "cnonce": '"abc"', "response": '"' + "0" * 32 + '"', **changes}
    return "Digest " + ", ".join(f"{name}={value}" for name, value in values.items() if value is not None)


row_named("an empty value is no credentials", lambda site: gets(site, "", reason=False))
for scheme_ in ("Negotiate", "NTLM", "Digest", "Basic"):
    row_named(f"{scheme_} alone is refused", lambda site, name=scheme_: gets(site, name))
    row_named(f"{scheme_} and nothing behind the space is refused", lambda site, name=scheme_: gets(site, name + "   "))
    row_named(f"{scheme_} with what is no base64 is refused", lambda site, name=scheme_: gets(site, name + " !!!!$$$$%%%%"))
    row_named(f"{scheme_} with base64 of garbage is refused", lambda site, name=scheme_: gets(site, token(name, os.urandom(300))))
    row_named(f"{scheme_} with base64 that was cut is refused", lambda site, name=scheme_: gets(site, f"{name} YWJjZGVmZ"))
    row_named(f"{scheme_} with 60000 equals signs is refused", lambda site, name=scheme_: gets(site, f"{name} " + "=" * 60000))
for name_, value_ in {
        "an unknown scheme": "Bearer c2VjcmV0LXNlY3JldA==",
        "48 KiB of garbage for Negotiate": token("Negotiate", os.urandom(36 * KIB)),
        "64 KiB of garbage for Negotiate": token("Negotiate", os.urandom(64 * KIB)),
        "64 KiB of garbage for NTLM": token("NTLM", os.urandom(64 * KIB)),
        "64 KiB of garbage for Basic": token("Basic", os.urandom(64 * KIB)),
        "a first message of NTLM of 64 KiB": token("NTLM", ntlm_negotiate() + bytes(64 * KIB)),
        "a first message of NTLM of 12 bytes": token("NTLM", ntlm_negotiate()[:12]),
        "NTLMSSP alone": token("NTLM", b"NTLMSSP\0"), "a second message of NTLM": token("NTLM", b"NTLMSSP\0\2\0\0\0" + bytes(60)),
        "a message of NTLM of type 9": token("NTLM", b"NTLMSSP\0\x09\0\0\0" + bytes(60)),
        "DER that is longer than it is": token("Negotiate", b"\x60\x82\xff\xff" + b"\x06" * 100),
        "DER with a length of 4 GiB": token("Negotiate", b"\x60\x84\xff\xff\xff\xff" + bytes(50)),
        "DER with a length of a length of 127": token("Negotiate", b"\x60\xff" + b"\xff" * 100),
        "DER without an end": token("Negotiate", b"\x60\x80" + bytes(40)),
        "DER of a thousand levels": token("Negotiate", b"\x60\x82\x07\xd0" + b"\x30\x80" * 1000),
        "SPNEGO with an empty list": token("Negotiate", der(0x60, bytes.fromhex("06062b0601050502"), der(0xa0, der(0x30)))),
        "SPNEGO with a token that is garbage": token("Negotiate", spnego_init(b"garbage" * 9)),
        "SPNEGO with a third message first": token("Negotiate", spnego_init(b"NTLMSSP\0\3\0\0\0" + bytes(60))),
        "an answer of SPNEGO without its question": token("Negotiate", der(0xa1, der(0x30, der(0xa0, b"\x0a\x01\x01")))),
        "Kerberos that is garbage": token("Negotiate", der(0x60, bytes.fromhex("06092a864886f712010202"), b"\1\0" + os.urandom(200))),
        "Digest that is no list": "Digest garbage and more of it", "Digest with an open quote": 'Digest username="alice',
        "Digest of commas": "Digest " + "," * 5000, "Digest of 5000 parameters": "Digest " + ", ".join(f"p{i}=v" for i in range(5000)),
        "Digest with 60 KB of a user": digest_value(username='"' + "a" * 60000 + '"'),
        "Digest with a user in two ways": digest_value(**{"username*": "UTF-8''alice"}),
        "Digest with a control character in its user": digest_value(username=None, **{"username*": "UTF-8''al%01ice"}),
        "Digest with a new line in its user": digest_value(username=None, **{"username*": "UTF-8''al%0d%0aX: y"}),
        "Digest with a user that is no UTF-8": digest_value(username=None, **{"username*": "UTF-8''%ff%fe"}),
        "Digest with quotes in its user": digest_value(username=r'"a\"b\\c"'), "Digest with an empty user": digest_value(username='""'),
        "Digest with a count of letters": digest_value(nc="zzzzzzzz"), "Digest with a long count": digest_value(nc="0" * 31 + "1"),
        "Digest with a short response": digest_value(response='"00"'), "Digest with an unknown algorithm": digest_value(algorithm="SHA-1"),
        "Basic without a colon": token("Basic", SECRET.encode()), "Basic without a user": basic("", SECRET),
        "Basic without a password": basic("alice", ""), "Basic with a NUL": basic(b"ali\0ce", SECRET.encode()),
        "Basic with quotes in the user": basic('al"ic\\e', SECRET), "Basic with a new line in the user": basic("al\r\nX: y", SECRET),
        "Basic with 0x01 in the user": basic("al\x01ice", SECRET), "Basic with C1 in the user": basic("al\x9bice", SECRET),
        "Basic with a user that is no UTF-8": basic(b"\xff\xfe\xfd", SECRET.encode()),
        "Basic with 1000 bytes of a user": basic("u" * 1000, SECRET), "Basic with 5000 bytes of a user": basic("u" * 5000, SECRET),
        "Basic with 5000 bytes of a password": basic("alice", SECRET * 400),
        "Basic with markup in the user": basic("<script>alert(1)</script>", SECRET)}.items():
    row_named(f"{name_}: refused, one line, the worker lives", lambda site, value=value_: gets(site, value))


@row
def two_fields_of_credentials_are_a_bad_request(site):
    gets(site, basic(*ALICE), 400, fields=(f"Proxy-Authorization: {basic(*ALICE)}",))


@row
def an_empty_and_a_right_field_of_credentials_are_a_bad_request(site):
    gets(site, "", 400, fields=(f"Proxy-Authorization: {basic(*ALICE)}",))


def gets_unread(site, value, status):
    """The head is not taken, and so the line has no host: it is found by that and the client's address, which others had before."""
    (pid,) = site.main.pids("worker")
    with Wire(site.main.port) as wire:
        client = "%s:%d" % wire.sock.getsockname()
        wire.send(request("GET", site.asked().url, value))
        assert wire.answer().status == status
        assert wire.wait_end() == b""
    site.settled(site.main, Named("none", 0))
    lines = [line for line in site.main.lines() if line["client"] == client and "host" not in line]
    assert [line["status"] for line in lines] == [status] and lines[0].get("error"), lines
    worker_lives(site, pid)


row_named("a head of 200 KiB is too large", lambda site: gets_unread(site, token("Negotiate", os.urandom(150 * KIB)), 431))
row_named("credentials with a control character are a bad request", lambda site: gets_unread(site, "Basic ab\x7fcd", 400))
row_named("credentials with 0x01 are a bad request", lambda site: gets_unread(site, 'Digest username="al\x01ice"', 400))
row_named("credentials with a lone CR are a bad request", lambda site: gets_unread(site, "Basic ab\rX: y", 400))


# ---- third messages ----

def third_gets(site, make, part=""):
    """The second message is answered with what `make` makes of it."""
    named, (pid,) = site.asked(), site.main.pids("worker")
    for scheme in ("NTLM", "Negotiate"):
        named = site.asked()
        with Wire(site.main.port) as wire:
            third = make(ntlm_begin(wire, "GET", site.asked().url, scheme))
            response = wire.ask("GET", named.url, token(scheme, third))
            assert response.status == 407, response
        line = one_line(site, named, 407)
        assert part in line["reason"], line
    worker_lives(site, pid)


def patched(at, data):
    """A right third message with other bytes in one place."""
    def make(challenge):
        third = ntlm_authenticate(challenge, *ALICE)
        return third[:at] + data + third[at + len(data):]
    return make


def proof(challenge, temp=None, user="alice", flags=NTLM_FLAGS, **how):
    server, info, filetime = ntlm_read(challenge)
    temp = ntlm_temp(filetime, bytes(8), info) if temp is None else temp(filetime, info)
    return ntlm_message(bytes(24), ntlm_response(ALICE[1], "alice", "", server, temp), "", user, flags, **how)


FIELDS = {"LM": 12, "NT": 20, "domain": 28, "user": 36, "workstation": 44, "key": 52}
for name_, at_ in FIELDS.items():
    for what_, data_ in {"an offset outside": struct.pack("<HHI", 8, 8, 0xfffffff0), "an offset at the end": struct.pack("<HHI", 8, 8, 60000),
                         "a length of 65535": struct.pack("<HHI", 0xffff, 0xffff, 64)}.items():
        row_named(f"NTLM with {what_} for its {name_}: refused",
                  lambda site, at=at_, data=data_: third_gets(site, patched(at, data), "points outside"))
for name_, make_, part_ in (
        ("that was cut in its head", lambda challenge: ntlm_authenticate(challenge, *ALICE)[:40], ""),
        ("of 8 bytes", lambda challenge: b"NTLMSSP\0", ""),
        ("that is the second one", lambda challenge: challenge, ""),
        ("with an odd length of UTF-16", patched(36, struct.pack("<HH", 9, 9)), ""),
        ("with a control character in the user", lambda challenge: proof(challenge, user="al\x01ice"), ""),
        ("with half a surrogate in the user", lambda challenge: proof(challenge, user=b"a\0\0\xd8"), ""),
        ("with a user of 3000 characters", lambda challenge: proof(challenge, user="u" * 3000), ""),
        ("without a user", lambda challenge: proof(challenge, user=""), ""),
        ("of an anonymous client", lambda challenge: proof(challenge, flags=NTLM_FLAGS | 0x800), "anonymous"),
        ("of NTLMv1", lambda challenge: ntlm_message(os.urandom(24), os.urandom(24), "", "alice", NTLM_FLAGS & ~0x80000), "v1"),
        ("of LM alone", lambda challenge: ntlm_message(os.urandom(24), b"", "", "alice"), "LM"),
        ("without the time of ours", lambda challenge: proof(challenge, lambda filetime, info: ntlm_temp(filetime, bytes(8), bytes(4))),
         "made for another"),
        ("with a list without an end", lambda challenge: proof(challenge, lambda filetime, info: ntlm_temp(filetime, bytes(8), info[:-4])[:-4]),
         "malformed"),
        ("with a list that points outside", lambda challenge: proof(
            challenge, lambda filetime, info: ntlm_temp(filetime, bytes(8), b"\2\0\xff\xff" + info)), "malformed"),
        ("of another day", lambda challenge: proof(challenge, lambda filetime, info: ntlm_temp(bytes(7) + b"\1", bytes(8), info)), "time"),
        ("with a proof of 16 bytes alone", lambda challenge: ntlm_message(bytes(24), os.urandom(16), "", "alice"), ""),
        ("with the proof changed", patched(64 + 24, bytes(4)), "password")):
    row_named(f"a third message of NTLM {name_}: refused", lambda site, make=make_, part=part_: third_gets(site, make, part))


# ---- many ----

def memory_kib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


@row
def ten_thousand_handshakes_that_stop_half_way_leave_no_memory_behind(site):
    with site.proxy({"schemes": ["ntlm", "negotiate"]}) as proxy:
        (pid,), grown, open_kib = proxy.pids("worker"), {}, 0
        start = memory_kib(pid)
        for done in range(BATCH, HANDSHAKES + 1, BATCH):
            named, wires = site.asked(), [Wire(proxy.port) for _ in range(BATCH)]
            for number, wire in enumerate(wires):
                wire.send(request("GET", named.url, token(("NTLM", "Negotiate")[number % 2], ntlm_negotiate())))
            assert {wire.answer().status for wire in wires} == {407}
            open_kib = memory_kib(pid) - start
            for wire in wires:
                wire.close()
            wait_for("the end of all sessions", lambda: proxy_sessions(proxy) == 0)
            grown[done] = memory_kib(pid) - start
        assert open_kib < 32 * BATCH, f"{open_kib / BATCH} KiB each while they are open"
        assert grown[10000] - grown[2000] < 2 * KIB, grown
        with Wire(proxy.port) as wire:
            assert ntlm(wire, "GET", site.alive.url, *ALICE).status == 200


def proxy_sessions(proxy):
    return proxy.command("status", "--sessions", "--json").count('"id"')


def grows_on_one_connection(site, users, work, times, most_kib):
    """What the worker grows by while `work` is done so often on one connection, after it was done as often."""
    with site.proxy({"schemes": ["ntlm", "basic"]}, users=users) as proxy, Wire(proxy.port) as wire:
        (pid,), named = proxy.pids("worker"), site.alive
        for _ in range(times):
            work(wire, named)
        before = memory_kib(pid)
        for _ in range(times):
            work(wire, named)
        grown = memory_kib(pid) - before
        assert grown < most_kib, f"{grown} KiB more after {times} times"


@row
def first_messages_without_end_on_one_connection_leave_no_memory_behind(site):
    grows_on_one_connection(site, {"alice": (ALICE[1], [])}, lambda wire, named: ntlm_begin(wire, "GET", named.url), 2000, 512)


@row
def logging_on_again_and_again_on_one_connection_leaves_no_memory_behind(site):
    groups = [f"group-{number:03}-" + "g" * 80 for number in range(60)]

    def log_on(wire, named):
        assert ntlm(wire, "GET", named.url, *ALICE).status == 200
        assert ntlm(wire, "GET", named.url, *ALICE).status == 200
    grows_on_one_connection(site, {"alice": (ALICE[1], groups)}, log_on, 500, 1024)


@row
def other_credentials_on_an_authenticated_connection_leave_no_memory_behind(site):
    """The identity that was proved before is let go of."""
    groups = [f"group-{number:03}-" + "g" * 80 for number in range(60)]

    def change(wire, named):
        assert ntlm(wire, "GET", named.url, *ALICE).status == 200
        assert wire.ask("GET", named.url, basic(*BOB)).status == 200
    grows_on_one_connection(site, {"alice": (ALICE[1], groups), "bob": (BOB[1], [])}, change, 500, 1024)


@row
def wrong_third_messages_without_end_leave_no_memory_behind(site):
    def fail(wire, named):
        assert ntlm(wire, "GET", named.url, "alice", "wrong").status == 407
    grows_on_one_connection(site, {"alice": (ALICE[1], [])}, fail, 1000, 512)


@row
def digest_of_a_right_user_with_a_wrong_count_of_quotes_does_not_confuse_the_log(site):
    """What is quoted in the credentials is not what the log quotes."""
    named = site.asked()
    with Wire(site.main.port) as wire:
        challenge = wire.ask("GET", site.asked().url).digest()
        value = Digest(challenge, 'x","user":"alice', SECRET).value("GET", "/a")
        assert wire.ask("GET", named.url, value).status == 407
    one_line(site, named, 407)
    assert base64.b64encode(SECRET.encode()).decode() not in site.main.events()
