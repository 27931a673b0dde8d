#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Kerberos for real: tickets of an MIT KDC, and of Active Directory, against the backend. Ends with one line:
"kerberos: N passed, M failed"."""
import argparse
import concurrent.futures
import json
import os
import pathlib
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "rigs"))
import rigs  # noqa: E402

CASES, DOMAIN_CASES = [], []


def case(function):
    CASES.append(function)
    return function


def domain_case(function):
    DOMAIN_CASES.append(function)
    return function


class Bench:
    """One authority, the program, and a folder for tokens."""

    def __init__(self, rig, program):
        self.rig, self.program, self.count = rig, program, 0

    def path(self, name):
        self.count += 1
        return self.rig.folder / f"{self.count}-{name}"

    def run(self, *words, **options):
        return self.rig.run([self.program, *words], **options)

    def token(self, service="HTTP@localhost", form="spnego", cache="ccache"):
        """A fresh token of the client's."""
        path = self.path("token")
        self.run("token", service, form, path, cache=cache)
        return path

    def ask(self, *pairs, replays="replays", services="-", **options):
        """Questions to one process: (keytab, token) each. The answers, or the one answer."""
        words = [f"{keytab}={token}" for keytab, token in pairs]
        lines = self.run("gss", self.rig.folder / replays, services, *words, **options).splitlines()
        answers = [json.loads(line) for line in lines]
        assert len(answers) == len(pairs), lines
        return answers[0] if len(pairs) == 1 else answers

    def talk(self, form, service="HTTP@localhost"):
        return json.loads(self.run("talk", self.rig.folder / "replays", self.rig.keytab(), service, form))


def expect(answer, verdict, user="", **fields):
    assert answer["verdict"] == verdict and answer["user"] == user, answer
    assert verdict in ("valid", "continue") or answer["why"], answer
    for name, value in fields.items():
        assert answer[name] == value, (name, answer)


def expect_why(answer, verdict, *texts):
    expect(answer, verdict)
    for text in texts:
        assert text in answer["why"], answer
    assert "\n" not in answer["why"] and "token" in answer and answer["token"] == 0, answer


def set_clock(bench, cache, seconds, into):
    """A copy of the tickets whose client believes that its clock is off by so much (FILE format 4, tag DeltaTime)."""
    data = (bench.rig.folder / cache).read_bytes()
    assert data[:2] == b"\x05\x04", data[:2]
    old = struct.unpack(">H", data[2:4])[0]
    header = struct.pack(">HHii", 1, 8, seconds, 0)
    (bench.rig.folder / into).write_bytes(data[:2] + struct.pack(">H", len(header)) + header + data[4 + old:])
    return into


# ---- MIT's KDC ----

@case
def tickets_in_every_form(bench):
    for form in ("raw", "raw-one-way", "spnego", "ms"):
        answer = bench.ask((bench.rig.keytab(), bench.token(form=form)))
        expect(answer, "valid", "alice@PROXY.TEST", mechanism=1, groups=[])
        assert (answer["token"] > 0) == (form != "raw-one-way"), answer


@case
def a_name_beyond_ascii(bench):
    bench.rig.kinit("jürgen", bench.rig.passwords["jürgen"], "jürgens")
    answer = bench.ask((bench.rig.keytab(), bench.token(cache="jürgens")))
    expect(answer, "valid", "jürgen@PROXY.TEST")


@case
def every_service_of_the_keytab(bench):
    for service in ("HTTP@localhost", "HTTP@proxy.test"):
        expect(bench.ask((bench.rig.keytab(), bench.token(service))), "valid", "alice@PROXY.TEST")


@case
def the_first_mechanism_is_another(bench):
    """NEGOEX first, as some Windows sends it: its token is dropped, Kerberos follows, and the list is protected."""
    answer = bench.talk("negoex")
    expect(answer, "valid", "alice@PROXY.TEST", mechanism=1)
    assert answer["legs"] == 3, answer
    expect(bench.talk("spnego"), "valid", "alice@PROXY.TEST", legs=1)


@case
def an_exchange_belongs_to_its_process(bench):
    """The second token of an exchange is nobody's first."""
    token = bench.path("response")
    token.write_bytes(bytes.fromhex("a10e300ca00a04084e454f4558545300"))
    expect_why(bench.ask((bench.rig.keytab(), token)), "invalid")


@case
def no_key_for_the_service(bench):
    for form in ("raw", "spnego", "ms"):
        answer = bench.ask((bench.rig.keytab(), bench.token("HTTP@other.test", form)))
        expect_why(answer, "other-mech", "HTTP/other.test@PROXY.TEST", "not found in keytab")


@case
def only_the_services_that_are_named(bench):
    local, proxy = bench.token("HTTP@localhost"), bench.token("HTTP@proxy.test")
    answers = bench.ask((bench.rig.keytab(), local), (bench.rig.keytab(), proxy), services="HTTP@proxy.test")
    expect_why(answers[0], "other-mech", "HTTP/localhost@PROXY.TEST", "negotiate.services")
    expect(answers[1], "valid", "alice@PROXY.TEST")
    for services, verdict in (("HTTP@a.test,HTTP@LocalHost", "valid"), ("HTTP@localhos", "other-mech"),
                              ("HTTP@localhost.test", "other-mech"), ("http@localhost", "other-mech"),
                              ("localhost", "other-mech"), ("host@localhost", "other-mech")):
        answer = bench.ask((bench.rig.keytab(), bench.token()), services=services)
        assert answer["verdict"] == verdict, (services, answer)


@case
def rotation_of_keys(bench):
    bench.rig.admin(f"ktadd -k {bench.path('mine')} HTTP/proxy.test")  # a key that the proxy does not have
    bench.rig.kinit("alice", bench.rig.passwords["alice"], "before")
    old = bench.token("HTTP@localhost", cache="before")
    new = bench.token("HTTP@proxy.test", cache="before")
    for form in ("raw", "spnego"):
        token = bench.token("HTTP@proxy.test", form, cache="before")
        expect_why(bench.ask((bench.rig.keytab(), token)), "other-mech", "kvno 3 not found in keytab")
    before = bench.path("keytab")
    before.write_bytes(bench.rig.keytab().read_bytes())
    bench.rig.rotate("HTTP/localhost")
    bench.rig.kinit("alice", bench.rig.passwords["alice"], "after")
    fresh = bench.token("HTTP@localhost", cache="after")
    answers = bench.ask((before, fresh), (before, new), (bench.rig.keytab(), fresh), (bench.rig.keytab(), old))
    expect_why(answers[0], "other-mech", "kvno 3 not found in keytab")
    expect_why(answers[1], "other-mech", "kvno 3 not found in keytab")
    expect(answers[2], "valid", "alice@PROXY.TEST")  # the same token, once its key is there
    expect(answers[3], "valid", "alice@PROXY.TEST")  # the old key is still in the file
    bench.rig.rotate("HTTP/proxy.test")


@case
def a_password_that_was_changed(bench):
    bench.rig.kinit("alice", bench.rig.passwords["alice"], "kept")
    bench.rig.set_password("alice", "another")
    try:
        bench.rig.kinit("alice", "another", "changed")
        for cache in ("kept", "changed"):
            expect(bench.ask((bench.rig.keytab(), bench.token(cache=cache))), "valid", "alice@PROXY.TEST")
    finally:
        bench.rig.set_password("alice", bench.rig.passwords["alice"])


@case
def the_wrong_key_of_the_right_number(bench):
    """The keytab has another key under the number that the ticket names."""
    other = bench.path("keytab")
    bench.rig.admin("addprinc -randkey HTTP/twice.test", f"ktadd -k {other} HTTP/twice.test", "delprinc -force HTTP/twice.test",
                    "addprinc -randkey HTTP/twice.test", f"ktadd -k {bench.path('real')} HTTP/twice.test")
    bench.rig.kinit("alice", bench.rig.passwords["alice"], "twice")
    for form in ("raw", "spnego"):
        answer = bench.ask((other, bench.token("HTTP@twice.test", form, cache="twice")))
        expect_why(answer, "invalid", "HTTP/twice.test", "cannot decrypt ticket")


@case
def replays_in_one_process(bench):
    for form in ("raw", "spnego", "ms"):
        token = bench.token(form=form)
        first, second = bench.ask((bench.rig.keytab(), token), (bench.rig.keytab(), token))
        expect(first, "valid", "alice@PROXY.TEST")
        expect_why(second, "invalid", "used before")


@case
def replays_in_another_process(bench):
    for form in ("raw", "spnego"):
        token = bench.token(form=form)
        expect(bench.ask((bench.rig.keytab(), token)), "valid", "alice@PROXY.TEST")
        expect_why(bench.ask((bench.rig.keytab(), token)), "invalid", "used before")
        # Another cache knows nothing of it: it is the cache that refuses.
        expect(bench.ask((bench.rig.keytab(), token), replays="others"), "valid", "alice@PROXY.TEST")


@case
def replays_at_the_same_time(bench):
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            token = bench.token()
            answers = list(pool.map(lambda _: bench.ask((bench.rig.keytab(), token)), range(4)))
            assert sorted(answer["verdict"] for answer in answers) == ["invalid"] * 3 + ["valid"], answers


@case
def threads_of_one_process(bench):
    """Each token is taken once, whoever comes first; exchanges that go on are all kept."""
    tokens = [bench.token(form=form) for form in ("raw", "spnego") * 10]
    negoex = [bench.token(form="negoex") for _ in range(5)]
    words = [f"{bench.rig.keytab()}={token}" for token in tokens + negoex]
    result = json.loads(bench.run("threads", bench.rig.folder / "replays", *words))
    assert result == {"valid": 20, "invalid": 60, "continue": 20}, result


@case
def the_replay_cache_cannot_be_written(bench):
    for form in ("raw", "spnego"):
        answer = bench.ask((bench.rig.keytab(), bench.token(form=form)), replays="missing/replays")
        expect_why(answer, "unavailable", "missing/replays")


@case
def groups_of_the_user_file(bench):
    users = bench.path("users")
    users.write_text("alice:nt=8846f7eaee8fb117ad06bdd830b7586c:groups=staff,it\n", encoding="utf-8")
    answer = bench.ask((bench.rig.keytab(), bench.token()), services=f"users={users}")
    expect(answer, "valid", "alice@PROXY.TEST", groups=["staff", "it"])
    bench.rig.kinit("jürgen", bench.rig.passwords["jürgen"], "jürgens")
    answer = bench.ask((bench.rig.keytab(), bench.token(cache="jürgens")), services=f"users={users}")
    expect(answer, "valid", "jürgen@PROXY.TEST", groups=[])


@case
def no_keytab(bench):
    expect_why(bench.ask(("-", bench.token())), "unavailable", "negotiate.keytab")
    empty = bench.path("keytab")
    empty.write_bytes(b"")
    expect_why(bench.ask((empty, bench.token())), "unavailable", "negotiate.keytab")
    empty.write_bytes(b"no keytab at all" * 100)
    expect_why(bench.ask((empty, bench.token())), "unavailable", "negotiate.keytab")
    # And it is not remembered: the next has one.
    answers = bench.ask((empty, bench.token()), (bench.rig.keytab(), bench.token()))
    assert [answer["verdict"] for answer in answers] == ["unavailable", "valid"], answers


@case
def garbage(bench):
    path = bench.path("garbage")
    for data in (b"", b"\x60", b"\x60\x80", b"NTLMSSP\0" + bytes(32), os.urandom(48000), b"\x60\x82\xff\xff" + bytes(48000),
                 bytes.fromhex("602806062b0601050502a01e301ca00e300c060a2b06010401823702020aa20a04084e544c4d535350"),
                 bytes.fromhex("6082bb80060a2b0601050502") + b"A" * 48000):
        path.write_bytes(data)
        answer = bench.ask((bench.rig.keytab(), path))
        assert answer["verdict"] in ("invalid", "other-mech") and answer["why"] and not answer["user"], (data[:20], answer)


@case
def beginnings_and_changes(bench):
    for form in ("raw", "spnego", "ms"):
        result = json.loads(bench.run("mangle", bench.rig.folder / "mangled", f"{bench.rig.keytab()}={bench.token(form=form)}"))
        assert result["tried"] > 500 and result["cut_valid"] == 0 and result["changed_valid"] == 0, (form, result)
        assert result["unavailable"] == 0, (form, result)


@case
def clocks_that_differ(bench):
    bench.rig.kinit("alice", bench.rig.passwords["alice"], "clock")
    bench.rig.run(["kvno", "HTTP/localhost"], cache="clock")
    for seconds, verdict in ((-200, "valid"), (200, "valid"), (900, "invalid")):
        cache = set_clock(bench, "clock", seconds, "shifted")
        for form in ("raw", "spnego"):
            answer = bench.ask((bench.rig.keytab(), bench.token(form=form, cache=cache)))
            assert answer["verdict"] == verdict, (seconds, answer)
            if verdict == "invalid":
                expect_why(answer, "invalid", "clocks", "NTP")


@case
def tickets_that_are_over(bench):
    """The client's clock goes after, so that it uses what has expired; ours tolerates a second."""
    bench.rig.kinit("brief", bench.rig.passwords["brief"], "brief")
    bench.rig.run(["kvno", "HTTP/localhost"], cache="brief")
    ends = time.time() + 2
    while time.time() < ends + 2:
        time.sleep(0.1)
    cache = set_clock(bench, "brief", -60, "late")
    for form in ("raw", "spnego"):
        token = bench.token(form=form, cache=cache)
        answer = bench.ask((bench.rig.keytab(), token), KRB5_CONFIG=str(bench.rig.folder / "krb5-strict.conf"))
        expect_why(answer, "invalid", "expired")


# ---- Active Directory ----

@domain_case
def groups_of_the_domain(bench):
    """As names where winbindd is there; nested groups too, since the domain has put them into the ticket."""
    bench.rig.kinit("alice", bench.rig.passwords["alice"])
    for service in ("HTTP@proxy.ad.test", "HTTP@localhost"):
        answer = bench.ask((bench.rig.keytab(), bench.token(service)))
        expect(answer, "valid", "alice@AD.TEST", mechanism=1)
        groups = answer["groups"]
        assert groups[0] == "ADTEST\\Domain Users", groups
        assert {"ADTEST\\proxy-users", "ADTEST\\proxy-all"} <= set(groups) and len(groups) == len(set(groups)), groups


@domain_case
def groups_of_somebody_else(bench):
    bench.rig.kinit("bob", bench.rig.passwords["bob"], "bobs")
    answer = bench.ask((bench.rig.keytab(), bench.token(cache="bobs")))
    expect(answer, "valid", "bob@AD.TEST")
    assert not [group for group in answer["groups"] if "proxy" in group], answer


@domain_case
def groups_without_winbind(bench):
    """Where nobody knows the names, the SIDs are the groups."""
    token = bench.token()
    outside = bench.ask((bench.rig.keytab(), token), outside=True)
    expect(outside, "valid", "alice@AD.TEST")
    groups = outside["groups"]
    assert groups[0].startswith("S-1-5-21-") and groups[0].endswith("-513"), groups
    names = {group: bench.rig.run(["wbinfo", "-s", group]).strip() for group in groups if group.startswith("S-1-5-21-")}
    assert any(name.startswith("ADTEST\\proxy-all") for name in names.values()), names
    assert all(group.startswith("S-1-") for group in groups), groups


@domain_case
def a_domain_name_beyond_ascii(bench):
    bench.rig.kinit("jürgen", bench.rig.passwords["jürgen"], "jürgens")
    expect(bench.ask((bench.rig.keytab(), bench.token(cache="jürgens"))), "valid", "jürgen@AD.TEST")


@domain_case
def domain_tickets_in_every_form(bench):
    for form in ("raw", "ms"):
        expect(bench.ask((bench.rig.keytab(), bench.token(form=form))), "valid", "alice@AD.TEST")
    expect(bench.talk("negoex"), "valid", "alice@AD.TEST", legs=3)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", default="build/asan/tests/backend_try", help="backend_try")
    parser.add_argument("--only", choices=("kdc", "ad"), help="one authority")
    parser.add_argument("case", nargs="*", help="parts of names of cases")
    options = parser.parse_args()
    program = pathlib.Path(options.program).resolve()
    passed = failed = 0
    for rig, cases, name in ((rigs.Kdc(), CASES, "kdc"), (rigs.Samba(), DOMAIN_CASES, "ad")):
        if options.only and options.only != name:
            rig.stop()
            continue
        with rig:
            rig.kinit("alice", rig.passwords["alice"])
            more = rigs.run_cases(cases, Bench(rig, program), options.case)
        passed, failed = passed + more[0], failed + more[1]
    print(f"kerberos: {passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
