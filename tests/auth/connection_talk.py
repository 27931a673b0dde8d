# SPDX-License-Identifier: Apache-2.0
"""Rows of connection.py: the talk itself. What a 407 says, bodies that come with one, and what a connection remembers."""
import base64
import contextlib
import json

from connection_site import (ALICE, BOB, DRAIN_BYTES, Recorder, expect_reason, expect_user, reload_with, row, row_named, wait_line)
from wire import (Digest, Wire, basic, chunked, ntlm, ntlm_authenticate, ntlm_begin, ntlm_negotiate, ntlm_read, request, spnego_init,
                  token)


# ---- every 407 of a talk has a length, and the connection stays ----

def stays(response, version):
    assert response.status == 407 and response.one("Content-Length") is not None and not response.says_close, response
    if version == "1.0":
        said = response.all("Connection") + response.all("Proxy-Connection")
        assert any("keep-alive" in value.lower() for value in said), response


def legs(site, method, version="1.1", fields=(), host=True, scheme="NTLM"):
    named = site.host()
    target = named.authority if method == "CONNECT" else named.url
    how = {"version": version, "fields": fields, "host": host}
    with Wire(site.main.port) as wire:
        stays(wire.ask(method, target, **how), version)
        stays(wire.ask(method, target, basic("alice", "wrong"), **how), version)
        first = wire.ask(method, target, token(scheme, ntlm_negotiate()), **how)
        stays(first, version)
        third = ntlm_authenticate(first.token(scheme), "alice", "wrong")
        stays(wire.ask(method, target, token(scheme, third), **how), version)
        first = wire.ask(method, target, token(scheme, ntlm_negotiate()), **how)
        stays(first, version)
        last = wire.ask(method, target, token(scheme, ntlm_authenticate(first.token(scheme), *ALICE)), **how)
        assert last.status == 200, last
        if method == "CONNECT":
            page = wire.ask("GET", "/a", fields=("Host: origin.test", "Connection: close"), host=False)
            assert page.body == b"hello a\n", page
    expect_user(site.main, named, "alice", scheme.lower())


for name_, how_ in {
        "GET": {"method": "GET"}, "CONNECT": {"method": "CONNECT"},
        "CONNECT of HTTP/1.0 without Host": {"method": "CONNECT", "version": "1.0", "host": False},
        "CONNECT of HTTP/1.0 that asks to keep": {"method": "CONNECT", "version": "1.0", "fields": ("Proxy-Connection: keep-alive",)},
        "CONNECT with Connection: close": {"method": "CONNECT", "fields": ("Connection: close",)},
        "CONNECT with Proxy-Connection: close": {"method": "CONNECT", "fields": ("Proxy-Connection: close",)},
        "GET of HTTP/1.0 that asks to keep": {"method": "GET", "version": "1.0", "fields": ("Connection: keep-alive",)},
        "NTLM raw under Negotiate": {"method": "GET", "scheme": "Negotiate"}}.items():
    row_named(f"every 407 has a length and keeps the connection: {name_}", lambda site, how=how_: legs(site, **how))


@row
def a_head_request_gets_the_legs_without_their_bodies(site):
    named = site.host()
    with Wire(site.main.port) as wire:
        assert ntlm(wire, "HEAD", named.url, *ALICE).status == 200
    expect_user(site.main, named, "alice", "ntlm")


# ---- what is offered ----

def names(response):
    return [value.split()[0] for value in response.challenges]


@row
def each_challenge_has_its_line_in_the_order_configured(site):
    with Wire(site.main.port) as wire:
        response = wire.ask("GET", site.host().url)
    assert names(response) == ["Negotiate"] + ["Digest"] * 4 + ["NTLM", "Basic"], response.challenges
    algorithms = [part.strip() for value in response.challenges[1:5] for part in value.split(",") if "algorithm" in part]
    assert algorithms == ["algorithm=SHA-256", "algorithm=MD5", "algorithm=SHA-256-sess", "algorithm=MD5-sess"], algorithms
    assert response.challenges[0] == "Negotiate" and response.challenges[5] == "NTLM", response.challenges
    assert 'charset="UTF-8"' in response.challenges[6], response.challenges


@row
def another_order_is_kept_as_well(site):
    with site.proxy({"schemes": ["basic", "ntlm", "digest"], "digest": {"algorithms": ["MD5", "SHA-256"]}}) as proxy:
        with Wire(proxy.port) as wire:
            response = wire.ask("CONNECT", site.host().authority)
        assert names(response) == ["Basic", "NTLM", "Digest", "Digest"], response.challenges
        assert "algorithm=MD5" in response.challenges[2] and "algorithm=SHA-256" in response.challenges[3], response.challenges


@row
def a_network_is_offered_what_it_is_configured_for(site):
    named = site.host()
    with Wire(site.main.port, "127.0.0.2") as wire:
        response = wire.ask("GET", named.url)
        assert set(names(response)) == {"Digest"}, response.challenges
        answer = Digest(response.digest(), *ALICE)
        assert wire.ask("GET", named.url, answer.value("GET", "/a")).status == 200
    line = expect_user(site.main, named, "alice", "digest")
    assert line["client"].startswith("127.0.0.2:"), line


@row
def a_listener_is_offered_what_it_is_configured_for(site):
    named = site.host()
    with Wire(site.main.ports["second"]) as wire:
        assert names(wire.ask("GET", named.url)) == ["Basic"]
        assert wire.ask("GET", named.url, basic(*ALICE)).status == 200
    assert expect_user(site.main, named, "alice", "basic")["listener"] == "second"


@row
def a_scheme_that_the_network_is_not_offered_is_refused_though_right(site):
    named, other = site.host(), site.host()
    with Wire(site.main.port, "127.0.0.2") as wire:
        response = wire.ask("GET", named.url, basic(*ALICE))
        assert response.status == 407 and set(names(response)) == {"Digest"}, response
        response = wire.ask("GET", other.url, token("NTLM", ntlm_negotiate()))
        assert response.status == 407 and set(names(response)) == {"Digest"}, response
    expect_reason(site.main, named, "not offered")
    expect_reason(site.main, other, "not offered")


@row
def a_scheme_that_the_listener_is_not_offered_is_refused_though_right(site):
    named = site.host()
    with Wire(site.main.port) as ours, Wire(site.main.ports["second"]) as wire:
        answer = Digest(ours.ask("GET", site.host().url).digest(), *ALICE)
        response = wire.ask("GET", named.url, answer.value("GET", "/a"))
        assert response.status == 407 and names(response) == ["Basic"], response
    expect_reason(site.main, named, "not offered")


# ---- bodies ----

def leg_with_body(site, leg, body, fields=(), sent=None):
    """The legs of NTLM until `leg`, which comes with a body, of which `sent` is sent; its answer, and the connection."""
    named, wire = site.host(), Wire(site.main.port)
    credentials = None
    if leg == 2:
        credentials = token("NTLM", ntlm_negotiate())
    elif leg == 3:
        credentials = token("NTLM", ntlm_authenticate(ntlm_begin(wire, "POST", named.post), "alice", "wrong"))
    data = request("POST", named.post, credentials, body, fields)
    with contextlib.suppress(ConnectionError):
        wire.send(data if sent is None else data[:len(data) - len(body) + sent])
    response = wire.answer("POST")
    assert response.status == 407, response
    return named, wire, response


def goes_on(site, wire, named):
    response = ntlm(wire, "POST", named.post, *ALICE, body=b"at last")
    assert response.body == b"posted 7\n", response
    expect_user(site.main, named, "alice", "ntlm")
    wire.close()


def drained(site, leg, body, fields=()):
    named, wire, response = leg_with_body(site, leg, body, fields)
    assert not response.says_close, response
    goes_on(site, wire, named)


def too_long(site, leg):
    named, wire, response = leg_with_body(site, leg, b"x" * (DRAIN_BYTES + 1), sent=1000)
    assert response.says_close, response
    assert wire.wait_end() == b""
    wire.close()
    wait_line(site.main, named, 407)


def chunked_too_long(site, leg):
    named, wire, _ = leg_with_body(site, leg, chunked(DRAIN_BYTES + 65536), ("Transfer-Encoding: chunked",))
    assert wire.wait_end() == b""
    wire.close()
    wait_line(site.main, named, 407)


LEGS = {1: "the first request", 2: "the first message", 3: "a wrong third message"}
for leg_, text_ in LEGS.items():
    row_named(f"a body with {text_} is drained", lambda site, leg=leg_: drained(site, leg, b"x" * 1000))
    row_named(f"a body with {text_} is drained up to the limit", lambda site, leg=leg_: drained(site, leg, b"x" * DRAIN_BYTES))
    row_named(f"a longer body with {text_} closes", lambda site, leg=leg_: too_long(site, leg))
    row_named(f"a chunked body with {text_} is drained",
              lambda site, leg=leg_: drained(site, leg, chunked(200000), ("Transfer-Encoding: chunked",)))
    row_named(f"a longer chunked body with {text_} closes", lambda site, leg=leg_: chunked_too_long(site, leg))


@row
def a_body_with_the_right_third_message_arrives(site):
    named = site.host()
    with Wire(site.main.port) as wire:
        response = ntlm(wire, "POST", named.post, *ALICE, body=b"y" * 600000)
        assert response.body == b"posted 600000\n", response
    assert expect_user(site.main, named, "alice", "ntlm")["bytes_up"] == 600000


@row
def who_expects_100_gets_407_at_once_and_the_connection_ends(site):
    named = site.host()
    with Wire(site.main.port) as wire:
        wire.send(request("POST", named.post, None, b"x" * 1000, ("Expect: 100-continue",))[:-1000])
        response = wire.answer("POST")
        assert response.status == 407 and response.says_close, response
        assert wire.wait_end() == b""


@row
def who_expects_100_and_does_not_wait_gets_one_answer(site):
    named = site.host()
    with Wire(site.main.port) as wire:
        wire.send(request("POST", named.post, None, b"x" * 1000, ("Expect: 100-continue",)))
        response = wire.answer("POST")
        assert response.status == 407 and response.says_close, response
        assert wire.wait_end() == b""
    assert len(site.settled(site.main, named)) == 1, site.main.lines(named.host)


@row
def who_expects_100_with_right_credentials_gets_it(site):
    named = site.host()
    with Wire(site.main.port) as wire:
        challenge = ntlm_begin(wire, "POST", named.post)
        third = token("NTLM", ntlm_authenticate(challenge, *ALICE))
        wire.send(request("POST", named.post, third, b"x" * 1000, ("Expect: 100-continue",))[:-1000])
        response = wire.answer("POST")
        if response.status == 100:
            wire.send(b"x" * 1000)
            response = wire.answer("POST")
        assert response.body == b"posted 1000\n", response


# ---- what a connection remembers ----

@row
def a_third_message_on_another_connection_is_refused(site):
    named = site.host()
    with Wire(site.main.port) as one, Wire(site.main.port) as other:
        third = token("NTLM", ntlm_authenticate(ntlm_begin(one, "GET", site.asked().url), *ALICE))
        assert other.ask("GET", named.url, third).status == 407
        expect_reason(site.main, named, "without its second on this connection")
        ntlm_begin(other, "GET", site.asked().url)
        again = site.host()
        assert other.ask("GET", again.url, third).status == 407
        expect_reason(site.main, again, "")
        assert one.ask("GET", site.host().url, third).status == 200


@row
def a_third_message_is_good_once(site):
    named, again, after = site.host(), site.host(), site.host()
    with Wire(site.main.port) as wire:
        third = token("NTLM", ntlm_authenticate(ntlm_begin(wire, "GET", named.url), *ALICE))
        assert wire.ask("GET", named.url, third).status == 200
        assert wire.ask("GET", again.url, third).status == 407
        assert wire.ask("GET", after.url).status == 407
    assert "without its second" in wait_line(site.main, again, 407)["reason"]


@row
def a_refused_request_is_not_logged_with_the_old_identity(site):
    named, after = site.host(), site.host()
    with Wire(site.main.port) as wire:
        assert ntlm(wire, "GET", site.alive.url, *ALICE).status == 200
        assert wire.ask("GET", named.url, basic("bob", "wrong")).status == 407
        assert ntlm(wire, "GET", site.alive.url, *ALICE).status == 200
        ntlm_begin(wire, "GET", after.url)
    expect_nobody(site, named)
    expect_nobody(site, after)


@row
def a_challenge_is_good_for_one_answer(site):
    named = site.host()
    with Wire(site.main.port) as wire:
        challenge = ntlm_begin(wire, "GET", site.asked().url)
        assert wire.ask("GET", site.host().url, token("NTLM", ntlm_authenticate(challenge, "alice", "wrong"))).status == 407
        assert wire.ask("GET", named.url, token("NTLM", ntlm_authenticate(challenge, *ALICE))).status == 407
    expect_reason(site.main, named, "without its second")


@row
def a_third_message_without_the_second_is_refused(site):
    named = site.host()
    with Wire(site.main.port) as giver, Wire(site.main.port) as wire:
        challenge = ntlm_begin(giver, "GET", site.asked().url)
        response = wire.ask("GET", named.url, token("NTLM", ntlm_authenticate(challenge, *ALICE)))
        assert response.status == 407 and "NTLM" in names(response), response
    expect_reason(site.main, named, "without its second")


@row
def a_request_without_credentials_ends_a_talk(site):
    with Wire(site.main.port) as wire:
        challenge = ntlm_begin(wire, "GET", site.asked().url)
        assert wire.ask("GET", site.host().url).status == 407
        named = site.host()
        assert wire.ask("GET", named.url, token("NTLM", ntlm_authenticate(challenge, *ALICE))).status == 407
    expect_reason(site.main, named, "without its second")


@row
def after_ntlm_requests_of_the_connection_need_no_credentials(site):
    for scheme in ("NTLM", "Negotiate"):
        named = site.host()
        with Wire(site.main.port) as wire:
            assert ntlm(wire, "GET", site.host().url, *ALICE, scheme=scheme).status == 200
            for _ in range(3):
                assert wire.ask("GET", named.url).status == 200
            assert wire.ask("POST", named.post, body=b"abc").body == b"posted 3\n"
            assert wire.ask("CONNECT", named.authority).status == 200
        line = expect_user(site.main, named, "alice", scheme.lower(), count=5)
        assert line.get("groups") == ["staff", "it"], line


@row
def spnego_around_ntlm_authenticates_the_connection(site):
    """The third message may come without SPNEGO or in it; here the first is wrapped and is answered so."""
    with Wire(site.main.port) as wire:
        response = wire.ask("GET", site.host().url, token("Negotiate", spnego_init(ntlm_negotiate())))
        assert response.status == 407 and not response.says_close, response
        assert b"NTLMSSP\0\2" in response.token("Negotiate"), response


@row
def new_credentials_begin_anew_as_another_user(site):
    named, after = site.host(), site.host()
    with Wire(site.main.port) as wire:
        assert ntlm(wire, "GET", site.host().url, *ALICE).status == 200
        assert ntlm(wire, "GET", named.url, *BOB).status == 200
        assert wire.ask("GET", after.url).status == 200
    expect_user(site.main, named, "bob", "ntlm")
    expect_user(site.main, after, "bob", "ntlm")


@row
def a_first_message_ends_the_old_identity(site):
    with Wire(site.main.port) as wire:
        assert ntlm(wire, "GET", site.host().url, *ALICE).status == 200
        ntlm_begin(wire, "GET", site.asked().url)
        named = site.host()
        assert wire.ask("GET", named.url).status == 407
    expect_nobody(site, named)


def expect_nobody(site, named):
    assert "user" not in wait_line(site.main, named, 407)


def old_identity_is_gone_after(site, credentials, status=407):
    named, after = site.host(), site.host()
    with Wire(site.main.port) as wire:
        assert ntlm(wire, "GET", site.host().url, *ALICE).status == 200
        assert wire.ask("GET", named.url, credentials).status == status
        assert wire.ask("GET", after.url).status == 407
    expect_nobody(site, after)


row_named("a wrong password on an authenticated connection ends the old identity: Basic",
          lambda site: old_identity_is_gone_after(site, basic("alice", "wrong")))
row_named("credentials that are nonsense end the old identity", lambda site: old_identity_is_gone_after(site, "NTLM ===="))
row_named("credentials of an unknown scheme end the old identity", lambda site: old_identity_is_gone_after(site, "Unknown abc"))
row_named("right credentials of Basic take the place of the old identity for one request",
          lambda site: old_identity_is_gone_after(site, basic(*BOB), 200))


@row
def a_wrong_password_of_ntlm_on_an_authenticated_connection_ends_the_old_identity(site):
    after = site.host()
    with Wire(site.main.port) as wire:
        assert ntlm(wire, "GET", site.host().url, *ALICE).status == 200
        assert ntlm(wire, "GET", site.host().url, "alice", "wrong").status == 407
        assert wire.ask("GET", after.url).status == 407
    expect_nobody(site, after)


@row
def basic_does_not_authenticate_the_connection(site):
    named = site.host()
    with Wire(site.main.port) as wire:
        assert wire.ask("GET", site.host().url, basic(*ALICE)).status == 200
        assert wire.ask("GET", named.url).status == 407
    expect_nobody(site, named)


@row
def digest_does_not_authenticate_the_connection(site):
    named = site.host()
    with Wire(site.main.port) as wire:
        answer = Digest(wire.ask("GET", named.url).digest(), *ALICE)
        assert wire.ask("GET", site.host().url, answer.value("GET", "/a")).status == 200
        assert wire.ask("GET", named.url).status == 407


@row
def pipelined_requests_of_an_authenticated_connection_are_all_of_its_user(site):
    named = site.host()
    with Wire(site.main.port) as wire:
        assert ntlm(wire, "GET", site.host().url, *ALICE).status == 200
        wire.send(request("GET", named.url) * 5)
        assert [wire.answer().status for _ in range(5)] == [200] * 5
    expect_user(site.main, named, "alice", "ntlm", count=5)


@row
def pipelined_messages_do_not_authenticate_what_came_before(site):
    """The request behind a third message waits for its verdict, and is refused with it."""
    with Wire(site.main.port) as wire:
        challenge = ntlm_begin(wire, "GET", site.asked().url)
        third = token("NTLM", ntlm_authenticate(challenge, "alice", "wrong"))
        wire.send(request("GET", site.host().url, third) + request("GET", site.host().url))
        assert [wire.answer().status for _ in range(2)] == [407, 407]


@row
def a_request_behind_the_right_third_message_is_of_its_user(site):
    named = site.host()
    with Wire(site.main.port) as wire:
        third = token("NTLM", ntlm_authenticate(ntlm_begin(wire, "GET", site.asked().url), *ALICE))
        wire.send(request("GET", named.url, third) + request("GET", named.url))
        assert [wire.answer().status for _ in range(2)] == [200, 200]
    expect_user(site.main, named, "alice", "ntlm", count=2)


@row
def the_name_of_a_scheme_is_the_same_in_capitals(site):
    for scheme in ("basic", "BASIC", "bAsIc"):
        with Wire(site.main.port) as wire:
            assert wire.ask("GET", site.alive.url, scheme + basic(*ALICE)[5:]).status == 200
    with Wire(site.main.port) as wire:
        third = ntlm_authenticate(ntlm_begin(wire, "GET", site.asked().url), *ALICE)
        assert wire.ask("GET", site.alive.url, token("ntlm", third)).status == 200
        answer = Digest(wire.ask("GET", site.asked().url, "none").digest(), *ALICE)
        assert wire.ask("GET", site.alive.url, "DIGEST" + answer.value("GET", "/a")[6:]).status == 200


@row
def many_connections_with_half_a_talk_do_not_disturb_each_other(site):
    """Each has a challenge of its own, and answers to them in any order are right."""
    users = [ALICE, BOB] * 20
    wires = [Wire(site.main.port) for _ in users]
    challenges = [ntlm_begin(wire, "GET", site.asked().url) for wire in wires]
    assert len({ntlm_read(challenge)[0] for challenge in challenges}) == len(users)
    for wire, challenge, user in reversed(list(zip(wires, challenges, users))):
        named = site.alive
        assert wire.ask("GET", named.url, token("NTLM", ntlm_authenticate(challenge, *user))).status == 200
        wire.close()


# ---- reload ----

@row
def a_reload_that_takes_the_scheme_away_asks_the_connection_anew(site):
    with site.proxy({"schemes": ["ntlm", "digest"]}) as proxy, Wire(proxy.port) as wire:
        assert ntlm(wire, "GET", site.host().url, *ALICE).status == 200
        reload_with(proxy, schemes=["digest"])
        named = site.host()
        response = wire.ask("GET", named.url)
        assert response.status == 407 and set(names(response)) == {"Digest"}, response
        assert "user" not in wait_line(proxy, named, 407)
        reload_with(proxy, schemes=["ntlm", "digest"])
        assert wire.ask("GET", named.url).status == 407
        answer = Digest(wire.ask("GET", named.url).digest(), *ALICE)
        assert wire.ask("GET", named.url, answer.value("GET", "/a")).status == 200


@row
def a_reload_with_the_same_schemes_does_not_ask_the_connection_anew(site):
    with site.proxy({"schemes": ["ntlm", "digest"]}) as proxy, Wire(proxy.port) as wire:
        assert ntlm(wire, "GET", site.host().url, *ALICE).status == 200
        for _ in range(2):
            reload_with(proxy, schemes=["digest", "ntlm"])
            named = site.host()
            assert wire.ask("GET", named.url).status == 200
            expect_user(proxy, named, "alice", "ntlm")


@row
def a_reload_between_the_messages_of_ntlm_does_not_break_the_talk(site):
    with site.proxy({"schemes": ["ntlm"]}) as proxy, Wire(proxy.port) as wire:
        challenge = ntlm_begin(wire, "GET", site.asked().url)
        reload_with(proxy, realm="Corporate egress")
        assert wire.ask("GET", site.host().url, token("NTLM", ntlm_authenticate(challenge, *ALICE))).status == 200


# ---- secrets ----

def talk_in_all_ways(wire_of, named, secrets):
    """Right and wrong, with each scheme; connections stay open. The credentials are added to `secrets`."""
    def tell(value):
        secrets.add(value.split(None, 1)[1])
        return value
    for user, password in (ALICE, ("alice", "wr0ng-secret")):
        secrets.add(password)
        wire = wire_of()
        answer = Digest(wire.ask("GET", named.url).digest(), user, password)
        wire.ask("GET", named.url, tell(basic(user, password)))
        value = answer.value("GET", "/a")
        secrets.add(value.split('response="')[1].split('"')[0])
        wire.ask("GET", named.url, tell(value))
        for scheme in ("NTLM", "Negotiate"):
            challenge = ntlm_begin(wire, "GET", named.url, scheme)
            secrets.add(base64.b64encode(challenge).decode())
            wire.ask("GET", named.url, tell(token(scheme, ntlm_authenticate(challenge, user, password))))
        wire_of().ask("CONNECT", named.authority, tell(basic(user, password)))
        wire = wire_of()
        ntlm(wire, "CONNECT", named.authority, user, password)
        wire_of().ask("GET", named.url, tell(f"{user}:{password}-c2VjcmV0 {basic(user, password)[6:]}"))


@row
def credentials_are_seen_by_no_origin_no_log_and_no_listing(site):
    log = {"access": {"path": "access.log", "query": True}, "events": {"path": "events.log", "level": "debug"}}
    recorder, wires, secrets = Recorder(), [], set()
    with site.proxy({"schemes": ["negotiate", "digest", "ntlm", "basic"]}, more={"log": log}) as proxy:
        def wire_of():
            wires.append(Wire(proxy.port))
            return wires[-1]
        named = site.host(recorder.port)
        talk_in_all_ways(wire_of, named, secrets)
        proxy.wait_lines(named.host, lambda lines: sum(line.get("status") == 407 for line in lines) >= 8)
        listings = [proxy.command("status", "--sessions"), proxy.command("status", "--sessions", "--json"),
                    proxy.command("status", "--json")]
        assert "tunnel" in listings[0] and "alice" in listings[1], listings
        for wire in wires:
            wire.close()
        site.settled(proxy, named)
        places = {"origin": recorder.text, "access": (proxy.folder / "access.log").read_text(), "events": proxy.events(),
                  **{f"listing {i}": text for i, text in enumerate(listings)}}
        recorder.close()
        assert "GET /a" in places["origin"] and "alice" in places["access"], places
        assert "proxy-auth" not in places["origin"].lower(), places["origin"]
        for place, text in places.items():
            found = [secret for secret in secrets if secret in text]
            assert not found, (place, found)


def to_recorder(site, fields, body=b""):
    """What an origin is sent of a request with right credentials and these fields."""
    recorder = Recorder()
    try:
        with Wire(site.main.port) as wire:
            wire.send(request("POST" if body else "GET", site.host(recorder.port).url, basic(*ALICE), None, fields) + body)
            assert wire.answer().status == 200
        return recorder.text
    finally:
        recorder.close()


@row
def credentials_for_the_origin_reach_it_and_those_for_the_proxy_do_not(site):
    seen = to_recorder(site, ("Authorization: Basic b3JpZ2luOnB3", "X-Shown: yes"))
    assert "Authorization: Basic b3JpZ2luOnB3\r\n" in seen and "X-Shown" in seen, seen
    assert basic(*ALICE)[6:] not in seen and "proxy-auth" not in seen.lower(), seen


@row
def credentials_in_a_trailer_do_not_reach_the_origin(site):
    body = f"5\r\nhello\r\n0\r\nProxy-Authorization: {basic(*ALICE)}\r\n\r\n".encode()
    seen = to_recorder(site, ("Transfer-Encoding: chunked", "Trailer: Proxy-Authorization"), body)
    assert "hello" in seen and basic(*ALICE)[6:] not in seen, seen


@row
def trace_does_not_echo_credentials(site):
    named = site.host()
    with Wire(site.main.port) as wire:
        response = wire.ask("TRACE", named.url, basic(*ALICE), fields=("Max-Forwards: 0", "X-Shown: yes"))
        assert response.status == 200 and b"X-Shown: yes" in response.body, (response, response.body)
        assert b"proxy-authorization" not in response.body.lower() and basic(*ALICE)[6:].encode() not in response.body


@row
def what_the_proxy_answers_does_not_repeat_credentials(site):
    with Wire(site.main.port) as wire:
        for value in (basic("alice", "wr0ng-secret"), "Nonsense wr0ng-secret"):
            response = wire.ask("GET", site.host().url, value, fields=("Accept: text/html",))
            assert response.status == 407 and b"wr0ng" not in response.body and value.split()[1] not in json.dumps(
                [response.fields, response.body.decode()]), response


