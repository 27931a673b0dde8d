# SPDX-License-Identifier: Apache-2.0
"""Rows of connection.py: Digest, where each proof is good once, whichever worker or node sees it."""
from connection_site import ALICE, asks_of, expect_reason, expect_user, row, row_named, wait_line
from wire import Digest, Wire

DIGEST = {"schemes": ["digest"], "digest": {"algorithms": ["SHA-256", "MD5"]}}
MOST_CONNECTIONS = 400


def challenge_of(wire, site, algorithm="SHA-256"):
    response = wire.ask("GET", site.asked().url)
    assert response.status == 407, response
    return response.digest(algorithm)


def is_stale(response):
    return response.status == 407 and all(value.endswith(", stale=true") for value in response.challenges
                                          if value.startswith("Digest"))


def refused(site, part, make, user=ALICE, **how):
    """What `make` makes of an answer is refused, and is not called stale."""
    named = site.asked()
    with Wire(site.main.port) as wire:
        answer = Digest(challenge_of(wire, site), *user, **how)
        response = wire.ask("GET", named.url, make(answer))
        assert response.status == 407 and not is_stale(response), response
    expect_reason(site.main, named, part)


@row
def a_replayed_count_is_stale_and_not_let_through(site):
    named, again = site.host(), site.host()
    with Wire(site.main.port) as wire:
        answer = Digest(challenge_of(wire, site), *ALICE)
        value = answer.value("GET", "/a")
        assert wire.ask("GET", named.url, value).status == 200
        response = wire.ask("GET", again.url, value)
        assert is_stale(response), response
        retried = Digest(response.digest(), *ALICE).value("GET", "/a")
        assert wire.ask("GET", named.url, retried).status == 200
    expect_reason(site.main, again, "count was used before")
    assert [line["status"] for line in site.settled(site.main, again)] == [407]


@row
def a_replay_is_refused_on_another_connection(site):
    named = site.host()
    with Wire(site.main.port) as wire, Wire(site.main.port) as other:
        value = Digest(challenge_of(wire, site), *ALICE).value("GET", "/a")
        assert wire.ask("GET", site.host().url, value).status == 200
        assert is_stale(other.ask("GET", named.url, value))
    expect_reason(site.main, named, "count was used before")


@row
def counts_out_of_order_are_good_once_each(site):
    named = site.host()
    with Wire(site.main.port) as wire:
        answer = Digest(challenge_of(wire, site), *ALICE)
        counts = [1, 7, 3, 2, 40, 39, 6, 5, 4]
        assert [wire.ask("GET", named.url, answer.value("GET", "/a", count)).status for count in counts] == [200] * len(counts)
        assert [wire.ask("GET", named.url, answer.value("GET", "/a", count)).status for count in counts] == [407] * len(counts)
    expect_user(site.main, named, "alice", "digest", count=len(counts))


@row
def a_nonce_serves_many_connections(site):
    named = site.host()
    with Wire(site.main.port) as wire:
        answer = Digest(challenge_of(wire, site), *ALICE)
    for _ in range(5):
        with Wire(site.main.port) as wire:
            assert wire.ask("GET", named.url, answer.value("GET", "/a")).status == 200


@row
def a_replay_is_good_once_over_all_workers(site):
    with site.proxy(DIGEST, workers=2) as proxy:
        for _ in range(3):
            named, wires, statuses = site.host(), [], []
            try:
                wires.append(Wire(proxy.port))
                value = Digest(challenge_of(wires[0], site), *ALICE).value("GET", "/a")
                # All stay open: a worker that has more than the other leaves the next ones to it.
                while len(wires) < MOST_CONNECTIONS:
                    wires.append(Wire(proxy.port))
                    statuses.append(wires[-1].ask("GET", named.url, value).status)
                    if len(statuses) > 20 and len({worker_of(line) for line in proxy.lines(named.host)}) == 2:
                        break
            finally:
                for wire in wires:
                    wire.close()
            lines = proxy.wait_lines(named.host, lambda lines, count=len(statuses): len(lines) == count)
            assert {worker_of(line) for line in lines} == {"0", "1"}, "both workers have to have served"
            assert sorted(statuses)[:2] == [200, 407], statuses


def worker_of(line):
    return line["id"].split("-")[0]


@row
def a_count_that_many_use_at_once_is_good_once_over_all_workers(site):
    """All requests are under way at the same time."""
    with site.proxy(DIGEST, workers=2) as proxy:
        for _ in range(10):
            named, wires = site.host(), [Wire(proxy.port) for _ in range(40)]
            value = Digest(challenge_of(wires[0], site), *ALICE).value("GET", "/a")
            for wire in wires:
                wire.send(f"GET {named.url} HTTP/1.1\r\nHost: {named.authority}\r\nProxy-Authorization: {value}\r\n\r\n".encode())
            statuses = [wire.answer().status for wire in wires]
            for wire in wires:
                wire.close()
            assert sorted(statuses) == [200] + [407] * 39, statuses


@row
def a_nonce_of_another_proxy_is_stale_and_the_new_one_works(site):
    named = site.host()
    with site.proxy(DIGEST) as proxy, Wire(proxy.port) as wire, Wire(site.main.port) as other:
        foreign = Digest(challenge_of(other, site), *ALICE).value("GET", "/a")
        response = wire.ask("GET", named.url, foreign)
        assert is_stale(response), response
        assert wire.ask("GET", named.url, Digest(response.digest(), *ALICE).value("GET", "/a")).status == 200
        expect_reason(proxy, named, "nonce is too old, or not ours")
        expect_user(proxy, named, "alice", "digest")


def spoilt_nonce(site, spoil):
    named = site.host()
    with Wire(site.main.port) as wire:
        challenge = challenge_of(wire, site)
        challenge["nonce"] = spoil(challenge["nonce"])
        response = wire.ask("GET", named.url, Digest(challenge, *ALICE).value("GET", "/a"))
        assert is_stale(response), response
        assert wire.ask("GET", named.url, Digest(response.digest(), *ALICE).value("GET", "/a")).status == 200


row_named("a nonce with another time in it is not ours", lambda site: spoilt_nonce(site, lambda nonce: "A" + nonce[1:]
                                                                                  if nonce[0] != "A" else "B" + nonce[1:]))
row_named("a nonce that was cut is not ours", lambda site: spoilt_nonce(site, lambda nonce: nonce[:-1]))
row_named("a nonce of nobody is not ours", lambda site: spoilt_nonce(site, lambda nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093"))


@row
def two_nodes_with_the_same_key_take_each_others_nonces(site):
    secret = {"nonce.key": "k" * 64}
    auth = {"schemes": ["digest"], "digest": {"algorithms": ["SHA-256"], "key": "nonce.key"}}

    def keep_private(folder):
        (folder / "nonce.key").chmod(0o600)
    with site.proxy(auth, files=secret, prepare=keep_private) as one, \
            site.proxy(auth, files=secret, prepare=keep_private) as other, \
            site.proxy(auth, files={"nonce.key": "j" * 64}, prepare=keep_private) as stranger:
        with Wire(one.port) as here, Wire(other.port) as there, Wire(stranger.port) as elsewhere:
            answer = Digest(challenge_of(here, site), *ALICE)
            assert there.ask("GET", site.host().url, answer.value("GET", "/a")).status == 200
            assert here.ask("GET", site.host().url, answer.value("GET", "/a")).status == 200
            assert is_stale(elsewhere.ask("GET", site.host().url, answer.value("GET", "/a")))


# ---- what is signed ----

row_named("Digest for another path is refused", lambda site: refused(site, "uri is not", lambda answer: answer.value("GET", "/b")))
row_named("Digest for a path that was changed on the way is refused",
          lambda site: refused(site, "response is wrong", lambda answer: answer.value("GET", "/b", uri='"/a"')))
row_named("Digest for another method is refused",
          lambda site: refused(site, "response is wrong", lambda answer: answer.value("POST", "/a")))
row_named("Digest for another host is refused",
          lambda site: refused(site, "uri is not", lambda answer: answer.value("GET", "http://other.test/a")))
row_named("Digest with a count that was changed is refused",
          lambda site: refused(site, "response is wrong", lambda answer: answer.value("GET", "/a", nc="00000009")))
row_named("Digest with a wrong password is refused and not stale",
          lambda site: refused(site, "response is wrong", lambda answer: answer.value("GET", "/a"), ("alice", "wrong")))
row_named("Digest of an unknown user is refused",
          lambda site: refused(site, "", lambda answer: answer.value("GET", "/a"), ("mallory", "wrong")))
row_named("Digest for another realm is refused",
          lambda site: refused(site, "realm", lambda answer: answer.value("GET", "/a", realm='"Elsewhere"')))
row_named("Digest without qop is refused",
          lambda site: refused(site, "is missing", lambda answer: answer.without_qop("GET", "/a")))
row_named("Digest with qop that was not offered is refused",
          lambda site: refused(site, "qop", lambda answer: answer.value("GET", "/a", qop="auth-int")))
row_named("Digest without a cnonce is refused",
          lambda site: refused(site, "cnonce", lambda answer: answer.value("GET", "/a", cnonce=None)))
row_named("Digest with a parameter twice is refused",
          lambda site: refused(site, "twice", lambda answer: answer.value("GET", "/a") + ', username="bob"'))
row_named("Digest with an algorithm that was changed is refused",
          lambda site: refused(site, "", lambda answer: answer.value("GET", "/a", algorithm="MD5")))


@row
def digest_with_an_algorithm_that_is_not_offered_is_refused(site):
    named = site.host()
    with site.proxy({"schemes": ["digest"], "digest": {"algorithms": ["SHA-256"]}}) as proxy, Wire(proxy.port) as wire:
        challenge = {**challenge_of(wire, site), "algorithm": "MD5"}
        assert wire.ask("GET", named.url, Digest(challenge, *ALICE).value("GET", "/a")).status == 407
        expect_reason(proxy, named, "algorithm is not offered")


def accepted(site, algorithm, method="GET", user=ALICE, uri=None, **how):
    named = site.host()
    target = named.authority if method == "CONNECT" else named.url
    with Wire(site.main.port) as wire:
        answer = Digest(challenge_of(wire, site, algorithm), *user, **how)
        response = wire.ask(method, target, answer.value(method, uri(named) if uri else target))
        assert response.status == 200, response
    if method != "CONNECT":
        expect_user(site.main, named, user[0], "digest")
    else:
        assert wait_line(site.main, named, 200)["user"] == user[0]


for algorithm_ in ("SHA-256", "MD5", "SHA-256-sess", "MD5-sess"):
    row_named(f"Digest with {algorithm_} is right", lambda site, name=algorithm_: accepted(site, name))
    row_named(f"Digest with {algorithm_} is right for CONNECT", lambda site, name=algorithm_: accepted(site, name, "CONNECT"))
    row_named(f"a userhash with {algorithm_} is understood", lambda site, name=algorithm_: accepted(site, name, userhash=True))
row_named("Digest that signs the path alone is right", lambda site: accepted(site, "SHA-256", uri=lambda named: "/a"))
row_named("Digest of CONNECT that signs / is right", lambda site: accepted(site, "MD5", "CONNECT", uri=lambda named: "/"))
row_named("Digest of a user with umlauts is right", lambda site: accepted(site, "SHA-256", user=("jürgen", "jürgenpw-77")))
row_named("a userhash of a user with umlauts is understood",
          lambda site: accepted(site, "SHA-256", user=("jürgen", "jürgenpw-77"), userhash=True))


@row
def the_known_proof_of_a_user_costs_no_question(site):
    with site.proxy(DIGEST) as proxy, Wire(proxy.port) as wire:
        answer = Digest(challenge_of(wire, site), *ALICE)
        for _ in range(20):
            assert wire.ask("GET", site.host().url, answer.value("GET", "/a")).status == 200
        wrong = Digest(challenge_of(wire, site), "alice", "wrong")
        assert wire.ask("GET", site.host().url, wrong.value("GET", "/a")).status == 407
        assert wire.ask("GET", site.host().url, answer.value("GET", "/a")).status == 200
        asks = asks_of(proxy)
    assert asks == 2, asks
