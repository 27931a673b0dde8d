# SPDX-License-Identifier: Apache-2.0
"""Rows of connection.py: users that change, guesses, the cache, what policy makes of a user, and the verifier's end."""
import concurrent.futures
import os
import re
import signal
import time

from auth_site import Proxy
from connection_site import (ALICE, BOB, asks_of, expect_reason, expect_user, first_message, gets, reload_with, row,
                             wait_for, wait_line)
from wire import Digest, Wire, basic, ntlm, ntlm_authenticate, ntlm_begin, request, token

AT_ONCE = 200
POLICY_OF_USERS = """
rules:
  - {name: devices, when: {from: 127.0.0.3/32}, then: {access: allow, auth: exempt}}
  - {name: open to all, when: {to: [r8.origin.test, free.test]}, then: {access: allow, auth: exempt}}
  - {name: not for sales, when: {group: sales}, then: {access: deny}}
  - {name: not for jürgen here, when: {user: jürgen, to: r7.origin.test}, then: {access: deny}}
  - {name: nobody is asked, when: {to: r9.origin.test}, then: {auth: exempt}}
defaults: {access: allow, tls: bypass, auth: required, ports: [1-65535]}
"""


# ---- the user file ----

def digest_gets(proxy, site, user, password):
    with Wire(proxy.port) as wire:
        answer = Digest(wire.ask("GET", site.asked().url).digest(), user, password)
        return wire.ask("GET", site.alive.url, answer.value("GET", "/a")).status


def ntlm_gets(proxy, site, user, password):
    with Wire(proxy.port) as wire:
        return ntlm(wire, "GET", site.alive.url, user, password).status


def by_all(proxy, site, user, password):
    return [gets(proxy, site.alive, user, password), digest_gets(proxy, site, user, password), ntlm_gets(proxy, site, user, password)]


ALL = {"schemes": ["digest", "ntlm", "basic"], "cache_time": 0}


@row
def a_user_that_was_removed_is_refused_without_a_reload(site):
    with site.proxy(ALL) as proxy:
        assert by_all(proxy, site, *ALICE) == [200] * 3
        proxy.command("user", "remove", "alice")
        wait_for("alice to be refused", lambda: gets(proxy, site.alive, *ALICE) == 407)
        assert by_all(proxy, site, *ALICE) == [407] * 3
        assert by_all(proxy, site, *BOB) == [200] * 3
        assert "auth_files" in proxy.events(), proxy.events()


@row
def a_user_that_was_removed_is_refused_when_the_time_of_the_cache_is_over(site):
    with site.proxy({**ALL, "cache_time": "1s"}) as proxy:
        assert by_all(proxy, site, *ALICE) == [200] * 3
        proxy.command("user", "remove", "alice")
        wait_for("alice to be refused by all", lambda: by_all(proxy, site, *ALICE) == [407] * 3)
        assert by_all(proxy, site, *BOB) == [200] * 3


@row
def a_password_that_was_changed_holds_without_a_reload(site):
    with site.proxy(ALL) as proxy:
        assert by_all(proxy, site, *ALICE) == [200] * 3
        proxy.command("user", "add", "alice", text="another-pw\n")
        wait_for("the new password", lambda: gets(proxy, site.alive, "alice", "another-pw") == 200)
        assert by_all(proxy, site, "alice", "another-pw") == [200] * 3
        assert by_all(proxy, site, *ALICE) == [407] * 3


@row
def a_user_that_was_added_gets_in_without_a_reload(site):
    with site.proxy(ALL) as proxy:
        assert by_all(proxy, site, "carol", "carolpw") == [407] * 3
        proxy.command("user", "add", "carol", text="carolpw\n")
        wait_for("carol", lambda: gets(proxy, site.alive, "carol", "carolpw") == 200)
        assert by_all(proxy, site, "carol", "carolpw") == [200] * 3


@row
def a_broken_user_file_leaves_the_old_one_in_force_and_says_so(site):
    with site.proxy(ALL) as proxy:
        users = proxy.folder / "users"
        whole = users.read_text()
        users.write_text("this is no line of users\n" + whole.replace("alice", "mallory"))
        wait_for("the event", lambda: "auth_files_refused" in proxy.events())
        assert by_all(proxy, site, *ALICE) == [200] * 3
        assert re.search(r"users:1", proxy.events()), proxy.events()
        secrets = [part for line in whole.splitlines() for part in re.split(r"[\s:]", line) if len(part) > 20]
        assert secrets and not [secret for secret in secrets if secret in proxy.events()]
        users.write_text("\n".join(line for line in whole.splitlines() if not line.startswith("alice")) + "\n")
        wait_for("alice to be refused", lambda: gets(proxy, site.alive, *ALICE) == 407)
        assert by_all(proxy, site, *BOB) == [200] * 3


@row
def a_user_file_that_is_gone_is_noticed_and_its_return_as_well(site):
    """Whatever is in force meanwhile: nothing hangs or dies, and in the end the file holds."""
    with site.proxy(ALL) as proxy:
        users = proxy.folder / "users"
        whole = users.read_bytes()
        users.unlink()
        wait_for("the event", lambda: proxy.events().count("auth_files"))
        assert gets(proxy, site.alive, *ALICE) in (200, 407)
        users.write_bytes(whole)
        wait_for("alice", lambda: gets(proxy, site.alive, *ALICE) == 200)


@row
def a_connection_of_ntlm_outlives_its_user_and_a_new_talk_does_not(site):
    """The connection was authenticated; the next one is not."""
    with site.proxy(ALL) as proxy, Wire(proxy.port) as wire:
        assert ntlm(wire, "GET", site.alive.url, *ALICE).status == 200
        proxy.command("user", "remove", "alice")
        wait_for("alice to be refused", lambda: gets(proxy, site.alive, *ALICE) == 407)
        assert wire.ask("GET", site.alive.url).status == 200
        assert ntlm(wire, "GET", site.alive.url, *ALICE).status == 407
        assert wire.ask("GET", site.alive.url).status == 407


# ---- guesses ----

LIMITED = {"schemes": ["basic", "ntlm", "digest"], "failures": {"per_user": 3, "per_client": 0, "every": "1h"}}


def guess(proxy, site, count, user="alice", source=None):
    return [gets(proxy, site.alive, user, f"guess-{number}-{os.urandom(4).hex()}", source) for number in range(count)]


@row
def too_many_guesses_of_a_user_get_429_and_others_get_in(site):
    with site.proxy(LIMITED) as proxy:
        assert gets(proxy, site.alive, *ALICE) == 200
        assert guess(proxy, site, 5) == [407, 407, 407, 429, 429]
        assert gets(proxy, site.alive, *BOB) == 200
        assert gets(proxy, site.alive, *ALICE) == 200
        named = site.asked()
        assert gets(proxy, named, "alice", "one more") == 429
        line = expect_reason(proxy, named, "too many failures", 429)
        assert line["error"] == "auth_throttled", line


@row
def the_right_password_is_known_after_the_cache_has_forgotten_it(site):
    with site.proxy({**LIMITED, "cache_time": 0}) as proxy:
        assert gets(proxy, site.alive, *ALICE) == 200
        assert guess(proxy, site, 4) == [407, 407, 407, 429]
        assert gets(proxy, site.alive, *ALICE) == 200


@row
def a_guess_that_is_right_in_the_end_does_not_get_in(site):
    with site.proxy(LIMITED) as proxy:
        assert guess(proxy, site, 3) == [407] * 3
        assert gets(proxy, site.alive, *ALICE) == 429


@row
def guesses_from_one_address_do_not_lock_out_the_user_at_another(site):
    with site.proxy(LIMITED) as proxy:
        assert guess(proxy, site, 4) == [407, 407, 407, 429]
        assert gets(proxy, site.alive, *ALICE, source="127.0.0.2") == 200
        assert gets(proxy, site.alive, *ALICE) in (200, 429)


@row
def guesses_by_ntlm_are_limited_as_well(site):
    with site.proxy(LIMITED) as proxy:
        assert [ntlm_gets(proxy, site, "alice", f"guess-{number}") for number in range(5)] == [407, 407, 407, 429, 429]
        assert ntlm_gets(proxy, site, *BOB) == 200


@row
def guesses_by_digest_are_limited_as_well(site):
    with site.proxy(LIMITED) as proxy:
        assert [digest_gets(proxy, site, "alice", f"guess-{number}") for number in range(5)] == [407, 407, 407, 429, 429]
        assert digest_gets(proxy, site, *BOB) == 200


@row
def guesses_are_counted_together_whatever_the_scheme(site):
    with site.proxy(LIMITED) as proxy:
        assert gets(proxy, site.alive, "alice", "guess") == 407
        assert ntlm_gets(proxy, site, "alice", "guess") == 407
        assert digest_gets(proxy, site, "alice", "guess") == 407
        assert [gets(proxy, site.alive, "alice", "another"), ntlm_gets(proxy, site, "alice", "another"),
                digest_gets(proxy, site, "alice", "another")] == [429] * 3


@row
def the_case_of_a_name_does_not_give_more_guesses(site):
    with site.proxy({**LIMITED, "schemes": ["ntlm"]}) as proxy:
        assert ntlm_gets(proxy, site, "ALICE", ALICE[1]) == 200  # they are one
        names = ["alice", "Alice", "ALICE", "aLice", "alIce", "aliCe"]
        statuses = [ntlm_gets(proxy, site, name, f"guess-{name}") for name in names]
        assert statuses == [407, 407, 407, 429, 429, 429], statuses


@row
def a_userhash_does_not_give_more_guesses(site):
    with site.proxy({**LIMITED, "digest": {"userhash": True}}) as proxy:
        def by_hash(password):
            with Wire(proxy.port) as wire:
                answer = Digest(wire.ask("GET", site.asked().url).digest(), "alice", password, userhash=True)
                return wire.ask("GET", site.alive.url, answer.value("GET", "/a")).status
        assert guess(proxy, site, 3) == [407] * 3
        assert by_hash("guess") == 429


@row
def guesses_of_many_names_from_one_address_get_429(site):
    failures = {"per_user": 0, "per_client": 10, "every": "1h"}
    with site.proxy({**LIMITED, "failures": failures}) as proxy:
        assert gets(proxy, site.alive, *BOB) == 200
        statuses = [guess(proxy, site, 1, f"user{number}")[0] for number in range(12)]
        assert statuses == [407] * 10 + [429] * 2, statuses
        assert gets(proxy, site.alive, *BOB) == 200
        assert gets(proxy, site.alive, *ALICE, source="127.0.0.2") == 200


# ---- the cache ----

@row
def many_first_requests_with_one_password_are_one_question(site):
    with site.proxy({"schemes": ["basic"]}) as proxy:
        wires = [Wire(proxy.port) for _ in range(AT_ONCE)]
        for wire in wires:
            wire.send(request("GET", site.alive.url, basic(*ALICE)))
        assert {wire.answer().status for wire in wires} == {200}
        for wire in wires:
            wire.close()
        assert asks_of(proxy) <= 5, asks_of(proxy)


@row
def many_first_requests_with_one_wrong_password_are_one_failure(site):
    """Nobody locks himself out by opening many pages with a typing error."""
    with site.proxy({"schemes": ["basic"], "failures": {"per_user": 5, "per_client": 0, "every": "1h"}}) as proxy:
        wires = [Wire(proxy.port) for _ in range(AT_ONCE)]
        for wire in wires:
            wire.send(request("GET", site.alive.url, basic("alice", "a typing error")))
        assert {wire.answer().status for wire in wires} == {407}
        for wire in wires:
            wire.close()
        assert gets(proxy, site.alive, *ALICE) == 200


@row
def a_cached_password_is_not_taken_for_another_user_or_password(site):
    with site.proxy({"schemes": ["basic"]}) as proxy:
        assert gets(proxy, site.alive, *ALICE) == 200
        for user, password in (("alice", ALICE[1] + "x"), ("alic", "e:" + ALICE[1]), ("bob", ALICE[1]), ("alice", ALICE[1][:-1])):
            assert gets(proxy, site.alive, user, password) == 407


@row
def a_password_in_the_cache_costs_no_question(site):
    with site.proxy({"schemes": ["basic"]}) as proxy:
        assert [gets(proxy, site.alive, *ALICE) for _ in range(20)] == [200] * 20
        assert asks_of(proxy) == 1, asks_of(proxy)


@row
def after_a_reload_that_changes_how_it_is_asked_the_cache_is_empty(site):
    """What was right with the old user file is asked of the new one."""
    with site.proxy({"schemes": ["basic", "digest"]}, files={"others": ""}) as proxy:
        with Wire(proxy.port) as wire:
            answer = Digest(wire.ask("GET", site.asked().url).digest(), *ALICE)
        assert gets(proxy, site.alive, *ALICE) == 200
        with Wire(proxy.port) as wire:
            assert wire.ask("GET", site.alive.url, answer.value("GET", "/a")).status == 200
            reload_with(proxy, users="others")
            assert wire.ask("GET", site.alive.url, answer.value("GET", "/a")).status == 407
        assert gets(proxy, site.alive, *ALICE) == 407


# ---- too much ----

@row
def more_questions_than_may_wait_get_503_and_no_hang(site):
    with site.proxy({"schemes": ["basic"], "threads": 1, "queue": 1}) as proxy:
        wires = [Wire(proxy.port) for _ in range(40)]
        for number, wire in enumerate(wires):
            wire.send(request("GET", site.alive.url, basic("alice", f"guess-{number}")))
        statuses = [wire.answer().status for wire in wires]
        for wire in wires:
            wire.close()
        assert set(statuses) == {407, 503}, statuses
        assert gets(proxy, site.alive, *ALICE) == 200


@row
def clients_that_leave_while_they_are_looked_at_leave_nothing_behind(site):
    with site.proxy({"schemes": ["basic", "ntlm", "digest"], "threads": 1}) as proxy:
        (pid,) = proxy.pids("worker")
        for number in range(60):
            with Wire(proxy.port) as wire:
                challenge = ntlm_begin(wire, "GET", site.asked().url)
                wire.send(request("GET", site.alive.url, (
                    basic("alice", f"guess-{number}"), token("NTLM", ntlm_authenticate(challenge, *ALICE)))[number % 2]))
        # The one thread has all those guesses to look at first: it may have no time for this one yet.
        wait_for("a turn", lambda: gets(proxy, site.alive, *ALICE) == 200)
        assert proxy.pids("worker") == [pid]
        wait_for("the end of all sessions", lambda: not proxy.command("status", "--sessions", "--json").strip())


# ---- policy ----

def with_policy(site, auth=None):
    return site.proxy({"schemes": ["ntlm", "digest", "basic"], **(auth or {})}, policy=POLICY_OF_USERS)


def at(site, host):
    named = site.host()
    return type(named)(host, named.port)


@row
def a_rule_with_a_group_denies_its_users_and_no_others(site):
    with with_policy(site) as proxy:
        named, other = site.host(), site.host()
        with Wire(proxy.port) as wire:
            assert wire.ask("GET", named.url, basic(*BOB)).status == 403
            assert wire.ask("GET", other.url, basic(*ALICE)).status == 200
        line = wait_line(proxy, named, 403)
        assert line["user"] == "bob" and line["groups"] == ["sales"] and line["decision"]["access"]["rule"] == "not for sales", line
        expect_user(proxy, other, "alice", "basic")


@row
def a_rule_with_a_group_holds_for_each_request_of_a_connection(site):
    with with_policy(site) as proxy:
        named = site.host()
        with Wire(proxy.port) as wire:
            assert ntlm(wire, "GET", named.url, *BOB).status == 403
            assert wire.ask("GET", named.url).status == 403
            assert wire.ask("CONNECT", named.authority).status == 403


@row
def a_rule_with_a_user_and_a_host_denies_both_together(site):
    with with_policy(site) as proxy:
        named = at(site, "r7.origin.test")
        assert gets(proxy, named, "jürgen", "jürgenpw-77") == 403
        assert gets(proxy, named, *ALICE) == 200
        assert gets(proxy, site.alive, "jürgen", "jürgenpw-77") == 200


@row
def who_has_not_said_who_it_is_is_asked_before_it_is_denied(site):
    with with_policy(site) as proxy, Wire(proxy.port) as wire:
        assert wire.ask("GET", site.alive.url).status == 407
        assert wire.ask("CONNECT", site.alive.authority, basic("bob", "wrong")).status == 407


@row
def exempt_by_address_is_not_asked_and_has_no_user(site):
    with with_policy(site) as proxy:
        named = site.host()
        with Wire(proxy.port, "127.0.0.3") as wire:
            assert wire.ask("GET", named.url).status == 200
        line = wait_line(proxy, named, 200)
        assert "user" not in line and "scheme" not in line and line["decision"]["auth"]["rule"] == "devices", line


@row
def exempt_by_host_is_not_asked_and_has_no_user(site):
    with with_policy(site) as proxy:
        named = at(site, "r8.origin.test")
        with Wire(proxy.port) as wire:
            assert wire.ask("GET", named.url).status == 200
            assert wire.ask("CONNECT", named.authority).status == 200
        lines = proxy.wait_lines(named.host, lambda lines: len(lines) == 2)
        assert not [line for line in lines if "user" in line or line["decision"]["auth"]["rule"] != "open to all"], lines


@row
def who_is_not_asked_may_be_of_a_group_that_is_denied(site):
    """No user: a rule that denies holds, as it could be one of them."""
    with with_policy(site) as proxy:
        named = at(site, "r9.origin.test")
        with Wire(proxy.port) as wire:
            assert wire.ask("GET", named.url).status == 403
        line = wait_line(proxy, named, 403)
        assert "user" not in line and line["decision"]["access"]["rule"] == "not for sales", line


@row
def credentials_to_an_exempt_host_are_dropped_unseen(site):
    """They are for the proxy, which does not ask: right or wrong, nobody looks."""
    with with_policy(site) as proxy:
        named = at(site, "r8.origin.test")
        assert gets(proxy, named, "alice", "wrong") == 200
        assert gets(proxy, named, *BOB) == 200
        lines = proxy.wait_lines(named.host, lambda lines: len(lines) == 2)
        assert not [line for line in lines if "user" in line], lines
        assert not site.origins.leaked(), site.origins.leaked()


@row
def a_new_user_on_a_connection_is_not_judged_by_the_rules_of_the_old_one(site):
    """bob may not go there; alice, who takes over his connection, may."""
    with with_policy(site) as proxy, Wire(proxy.port) as wire:
        assert ntlm(wire, "GET", site.alive.url, *BOB).status == 403
        named = site.host()
        assert wire.ask("GET", named.url, basic(*ALICE)).status == 200
    with with_policy(site) as proxy, Wire(proxy.port) as wire:
        assert ntlm(wire, "GET", site.alive.url, *BOB).status == 403
        assert ntlm(wire, "GET", site.alive.url, *ALICE).status == 200


@row
def a_new_user_on_a_connection_is_judged_by_its_own_rules(site):
    with with_policy(site) as proxy, Wire(proxy.port) as wire:
        assert ntlm(wire, "GET", site.alive.url, *ALICE).status == 200
        assert wire.ask("GET", site.alive.url, basic(*BOB)).status == 403
        assert ntlm(wire, "GET", site.alive.url, *BOB).status == 403


# ---- the verifier ----

class Wounded(Proxy):
    """One whose verifier is killed by the test."""

    def events(self):
        return "\n".join(line for line in super().events().splitlines() if not ("role_died" in line and "role=verifier" in line))


def kill_verifier(proxy):
    """The one that ran; True when another one runs."""
    (old,) = proxy.pids("verifier")
    os.kill(old, signal.SIGKILL)
    return lambda: proxy.pids("verifier") not in ([old], [0])


def kill_while(proxy, ask):
    """Statuses of what is asked, from before the verifier is killed until the next one answers."""
    statuses, is_next, ends = [], [], time.monotonic() + 60

    def go_on():
        while time.monotonic() < ends:
            statuses.append(ask())
            if is_next and statuses[-1] != 503:
                return
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        running = [pool.submit(go_on) for _ in range(8)]
        wait_for("some answers", lambda: len(statuses) > 20)
        wait_for("the next verifier", kill_verifier(proxy))
        is_next.append(True)
        for one in running:
            one.result()
    assert statuses[-1] != 503, "it does not come back"
    return statuses


@row
def a_verifier_that_was_killed_comes_back_and_nobody_hangs(site):
    with site.proxy({"schemes": ["basic"], "cache_time": 0}, kind=Wounded) as proxy:
        for _ in range(2):
            statuses = kill_while(proxy, lambda: gets(proxy, site.alive, *ALICE))
            assert set(statuses) <= {200, 503} and statuses.count(200) > 20, set(statuses)
        assert gets(proxy, site.alive, *ALICE) == 200 and gets(proxy, site.alive, "alice", "wrong") == 407


@row
def connections_of_ntlm_go_on_while_there_is_no_verifier(site):
    with site.proxy({"schemes": ["ntlm", "basic"], "cache_time": 0}, kind=Wounded) as proxy, Wire(proxy.port) as wire:
        assert ntlm(wire, "GET", site.alive.url, *ALICE).status == 200
        with Wire(proxy.port) as half:
            challenge = ntlm_begin(half, "GET", site.asked().url)
            is_next = kill_verifier(proxy)
            while not is_next():
                assert wire.ask("GET", site.alive.url).status == 200
            wait_for("the next one", lambda: gets(proxy, site.alive, *ALICE) == 200)
            assert half.ask("GET", site.alive.url, token("NTLM", ntlm_authenticate(challenge, *ALICE))).status == 200
        assert wire.ask("GET", site.alive.url).status == 200
        assert ntlm_gets(proxy, site, *BOB) == 200


@row
def passwords_in_the_cache_are_good_while_there_is_no_verifier(site):
    with site.proxy({"schemes": ["basic"]}, kind=Wounded) as proxy:
        assert gets(proxy, site.alive, *ALICE) == 200
        statuses = kill_while(proxy, lambda: gets(proxy, site.alive, *ALICE))
        assert set(statuses) == {200}, set(statuses)


@row
def the_first_message_after_the_start_is_answered(site):
    """Who is told that the proxy is ready may begin at once."""
    statuses = []
    for _ in range(12):
        with Proxy(site.binary, {"schemes": ["ntlm"]}, users={}) as proxy:
            statuses.append(first_message(proxy, site.asked()).status)
    assert statuses == [407] * 12, statuses


@row
def a_stopped_verifier_costs_a_503_and_no_hang(site):
    """It neither answers nor ends: timeouts.auth is over first."""
    with site.proxy({"schemes": ["basic"], "cache_time": 0}, more={"timeouts": {"auth": "1s"}}) as proxy:
        assert gets(proxy, site.alive, *ALICE) == 200
        (pid,) = proxy.pids("verifier")
        os.kill(pid, signal.SIGSTOP)
        try:
            named = site.asked()
            assert gets(proxy, named, *ALICE) == 503
            line = wait_line(proxy, named, 503)
            assert line["error"] == "auth_timeout", line
        finally:
            os.kill(pid, signal.SIGCONT)
        wait_for("it to answer", lambda: gets(proxy, site.alive, *ALICE) == 200)
