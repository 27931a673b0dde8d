#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The LDAP backend against a real OpenLDAP and a real Active Directory. Ends with one line: "ldap: N passed, M failed"."""
import argparse
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "rigs"))
import rigs  # noqa: E402
import slapd  # noqa: E402

CASES, DOMAIN_CASES = [], []
PEOPLE = f"ou=people,{slapd.BASE}"
PATIENCE_S = 30


def case(function):
    CASES.append(function)
    return function


def domain_case(function):
    DOMAIN_CASES.append(function)
    return function


def encode(text):
    """For a line of backend_try: bytes or text, %XX where it has to be."""
    data = text if isinstance(text, bytes) else text.encode()
    return "".join(chr(byte) if 0x20 < byte < 0x7f and byte != 0x25 else f"%{byte:02X}" for byte in data)


class Asker:
    """One process, with what its backend keeps between questions. As a context."""

    def __init__(self, words, path, conf, env=None):
        self.path = path
        self.write(conf)
        self.process = subprocess.Popen([*map(str, words), str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, encoding="utf-8", env=env)

    def write(self, conf):
        self.path.write_text(json.dumps(conf, ensure_ascii=False), encoding="utf-8")

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.process.stdin.close()
        status = self.process.wait(PATIENCE_S)
        assert kind or status == 0, f"backend_try ended with {status}"

    def send(self, *words):
        self.process.stdin.write("\t".join(words) + "\n")
        self.process.stdin.flush()

    def answer(self):
        line = self.process.stdout.readline()
        assert line, "backend_try ended"
        return json.loads(line)

    def password(self, user, password):
        self.send("password", encode(user), encode(password))
        return self.answer()

    def groups(self, user):
        self.send("groups", encode(user))
        return self.answer()

    def many(self, count, user, password):
        self.send("many", str(count), encode(user), encode(password))
        return [self.answer() for _ in range(count)]

    def reload(self, conf):
        self.write(conf)
        self.send("conf", str(self.path))


class Bench:
    """The directory that most cases ask, certificates, and the program."""

    def __init__(self, folder, program):
        self.folder, self.program, self.count = folder, program, 0
        self.authority = slapd.Authority(folder)
        self.stranger = slapd.Authority(folder, "stranger")
        self.server = None

    def certificate(self, name="good", alternatives="IP:127.0.0.1", authority=None, **dates):
        authority = authority or self.authority
        return (*authority.sign(name, alternatives, **dates), authority.certificate)

    def secret(self, text):
        self.count += 1
        path = self.folder / f"password-{self.count}"
        path.write_text(text)
        return str(path)

    def conf(self, server=None, **ldap):
        """By searching, unless there is a template."""
        conf = {"servers": [(server or self.server).tls_uri], "ca": str(self.authority.certificate), "base": slapd.BASE,
                "filter": "(uid={user})", "bind_dn": slapd.SERVICE, "password_file": self.secret(slapd.PASSWORDS["svc"]),
                "timeout": "5s"}
        conf.update(ldap)
        return {"ldap": {key: value for key, value in conf.items() if value is not None}}

    def asker(self, conf=None, prefix=(), env=None, **ldap):
        self.count += 1
        return Asker([*prefix, self.program, "ldap"], self.folder / f"conf-{self.count}", conf or self.conf(**ldap), env)

    def by_template(self, template=f"uid={{user}},{PEOPLE}", **ldap):
        return self.asker(**{"template": template, "base": None, "filter": None, "bind_dn": None, "password_file": None,
                             **ldap})


def expect(answer, verdict, user="", *texts, groups=None):
    assert answer["verdict"] == verdict, answer
    assert answer["user"] == user, answer
    for text in texts:
        assert text in answer["why"], (text, answer)
    assert verdict == "valid" or (answer["why"] and not answer["groups"]), answer
    assert "\n" not in answer["why"], answer
    for password in slapd.PASSWORDS.values():
        assert not password or password not in answer["why"], answer
    if groups is not None:
        assert sorted(answer["groups"]) == sorted(groups), answer


class Listener:
    """A socket that takes connections. serve(connection) in a thread for each; None: silence."""

    def __init__(self, serve=None):
        self.serve, self.kept = serve, []
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.socket.getsockname()[1]
        self.uri = f"ldap://127.0.0.1:{self.port}"
        self.tls_uri = f"ldaps://127.0.0.1:{self.port}"
        self.count = 0
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.count += 1
            self.kept.append(connection)
            if self.serve:
                threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def close(self):
        self.socket.close()
        for connection in self.kept:
            connection.close()


# ---- passwords ----

@case
def right_wrong_unknown(bench):
    for asker in (bench.asker(), bench.asker(servers=[bench.server.uri], starttls=True),
                  bench.asker(servers=[bench.server.uri])):  # loopback needs no TLS
        with asker:
            expect(asker.password("alice", "al1ce pw"), "valid", "alice", groups=[])
            expect(asker.password("alice", "wrong"), "invalid", "", "wrong")
            expect(asker.password("alice", "al1ce pw "), "invalid")
            expect(asker.password("nobody", "x"), "unknown-user", "", "no such user")
            expect(asker.password("bob", "b0b-pw"), "valid", "bob")
            expect(asker.password("jürgen", "jürgenpw"), "valid", "jürgen")
            expect(asker.password("jürgen", "jurgenpw"), "invalid")


@case
def by_template(bench):
    with bench.by_template() as asker:
        expect(asker.password("alice", "al1ce pw"), "valid", "alice", groups=[])
        expect(asker.password("alice", "wrong"), "invalid")
        expect(asker.password("nobody", "x"), "invalid")
        expect(asker.password("jürgen", "jürgenpw"), "valid", "jürgen")
        expect(asker.password("o,brien", "comma-pw"), "valid", "o,brien")


@case
def empty_passwords(bench):
    """An unauthenticated bind succeeds at many servers. This one is told to let it."""
    with slapd.Slapd(bench.certificate(), more="allow bind_anon_cred") as lax:
        with bench.asker(server=lax) as asker:
            expect(asker.password("alice", ""), "invalid", "", "empty")
            expect(asker.password("alice", b"\0"), "invalid", "", "empty")
            expect(asker.password("alice", b"al1ce pw\0"), "invalid", "", "NUL")
            expect(asker.password("alice", "al1ce pw"), "valid", "alice")
        with bench.asker(server=lax, password_file=None) as asker:
            expect(asker.password("alice", "al1ce pw"), "unavailable", "", "no password")
        with bench.asker(server=lax, password_file=bench.secret("")) as asker:
            expect(asker.password("alice", "al1ce pw"), "unavailable", "", "no password")


HOSTILE = ["*", "a*", "alice*", "*)(uid=alice", "alice)(uid=*", "alice)(|(uid=*", "(alice", "alice)", "\\", "alice\\2a", "\\61lice",
           "alice\\", b"alice\0", b"\0", b"\0alice", "alice,ou=people", f"alice,{PEOPLE}", "alice+cn=alice", "uid=alice", "#616c696365",
           "\"alice\"", "alice;x", "<alice>", "alice=", " alice", "alice ", "alice\t", "alice\n", "alice\r\nx", b"\xff", b"alice\xff",
           b"\xc0\xafalice", "al\u00adice\x7f", "\u0085alice", "", "@example.test", "x" * 900, "x" * 5000, "é" * 400,
           "al  ice", "{user}", "{name}", "%s%n", "&(uid=alice)", "!(uid=bob)", "uid:dn:=alice", "alice:1.2.3:=x"]


@case
def hostile_names(bench):
    """No name that is not alice's becomes alice, whatever filter or DN is made of it."""
    with bench.asker() as search, bench.by_template() as template, \
            bench.by_template("{user}@example.test", base=slapd.BASE, filter="(uid={user})") as principal:
        for name in HOSTILE:
            for asker in (search, template, principal):
                for password in ("al1ce pw", "wrong"):
                    answer = asker.password(name, password)
                    assert answer["verdict"] in ("invalid", "unknown-user", "unavailable") and answer["user"] == "", (name, answer)
        for name, verdict in (("*", "unknown-user"), ("alice)(uid=*", "unknown-user"), ("{user}", "unknown-user")):
            expect(search.password(name, "al1ce pw"), verdict)
        expect(search.password("alice", "al1ce pw"), "valid", "alice")
        expect(template.password("alice", "al1ce pw"), "valid", "alice")


@case
def hostile_names_that_are_there(bench):
    """What has to be escaped is somebody's name, too."""
    with bench.asker() as search, bench.by_template() as template:
        for asker in (search, template):
            expect(asker.password("o,brien", "comma-pw"), "valid", "o,brien")
            expect(asker.password("o,brien", "wrong"), "invalid")
        expect(search.password("star", "star-pw"), "valid", "star")
        expect(search.password("st*r", "star-pw"), "unknown-user")


@case
def one_person_has_one_name(bench):
    """However it is written, it is called as the directory calls it: another spelling is no way around a denial."""
    spellings = ["ALICE", "Alice", "aLiCe", "ａｌｉｃｅ", "al\u00adice", "alic\u200be"]
    with bench.asker() as search, bench.by_template() as template:
        taken = 0
        for spelling in spellings:
            for asker in (search, template):
                answer = asker.password(spelling, "al1ce pw")
                taken += answer["verdict"] == "valid"
                assert answer["user"] == ("alice" if answer["verdict"] == "valid" else ""), (spelling, answer)
        assert taken >= 6, "this directory takes no other spelling: the case shows nothing"
        expect(search.password("alicia", "al1ce pw"), "valid", "alice")  # an alias of hers
    with bench.asker(filter="(mail={name})") as asker:
        expect(asker.password("alice.EXAMPLE@EXAMPLE.test", "al1ce pw"), "valid", "Alice.Example@example.test")


@case
def names_that_the_directory_does_not_show(bench):
    with bench.by_template() as asker:
        expect(asker.password("hidden", "hidden-pw"), "valid", "hidden", groups=[])
        expect(asker.password("HIDDEN", "hidden-pw"), "valid", "hidden")
        expect(asker.password("ｈidden", "hidden-pw"), "unavailable", "", "spells")
    with bench.by_template(groups="member-of", base=slapd.BASE) as asker:
        expect(asker.password("hidden", "hidden-pw"), "unavailable", "", "does not show")


@case
def domains_of_names(bench):
    conf = bench.conf()
    with bench.asker() as asker:
        expect(asker.password("alice@example.test", "al1ce pw"), "valid", "alice@example.test")  # its own: dc=example,dc=test
        expect(asker.password("alice@elsewhere.test", "al1ce pw"), "valid", "alice")  # who has proved to be alice here, no more
        expect(asker.password("ELSEWHERE\\alice", "al1ce pw"), "valid", "alice")
        conf["domains"] = {"CORP": "corp.test", "OTHER": "other.test"}
        conf["default_domain"] = "CORP"
        asker.reload(conf)
        expect(asker.password("alice", "al1ce pw"), "valid", "alice@corp.test")
        expect(asker.password("CORP\\alice", "al1ce pw"), "valid", "alice@corp.test")
        expect(asker.password("OTHER\\alice", "al1ce pw"), "valid", "alice")  # maps to alice@corp.test, who it is
        conf["ldap"]["groups"] = "member"
        asker.reload(conf)
        assert "staff" in asker.groups("alice@corp.test")["groups"]
        expect(asker.groups("alice@other.test"), "valid", groups=[])
        conf["ldap"]["filter"] = "(mail={name})"
        asker.reload(conf)
        expect(asker.password("alice", "al1ce pw"), "unknown-user")  # mail=alice@corp.test


@case
def several_entries(bench):
    with bench.asker() as asker:
        expect(asker.password("twin", "twin-pw"), "invalid", "", "several")
    with bench.asker(filter="(objectClass=*)") as asker:
        expect(asker.password("alice", "al1ce pw"), "invalid", "", "several")
    with bench.by_template() as asker:
        expect(asker.password("twin", "twin-pw"), "valid", "twin")


@case
def accounts_that_may_not(bench):
    with bench.asker() as asker:
        expect(asker.password("nopassword", "x"), "invalid")
        expect(asker.password("reset", "reset-pw"), "invalid", "", "must be changed")
        for _ in range(3):
            expect(asker.password("locked", "wrong"), "invalid")
        expect(asker.password("locked", "locked-pw"), "invalid", "", "locked")


@case
def who_searches(bench):
    with bench.asker(password_file=bench.secret("not the password")) as asker:
        for _ in range(3):
            expect(asker.password("alice", "al1ce pw"), "unavailable", "", "bind_dn")
    with bench.asker(bind_dn=None) as asker:  # nobody in particular sees nobody here
        expect(asker.password("alice", "al1ce pw"), "unavailable", "", "access")
    with bench.asker(base="dc=elsewhere,dc=test") as asker:
        expect(asker.password("alice", "al1ce pw"), "unavailable", "", "No such object")
    with bench.asker(filter="(uid={user}") as asker:
        expect(asker.password("alice", "al1ce pw"), "unavailable", "", "filter")
    with bench.by_template("uid={user},no dn") as asker:
        expect(asker.password("alice", "al1ce pw"), "unavailable")


@case
def who_is_bound_does_not_search(bench):
    """After a user's bind the connection that searches is still ours: hidden sees nothing, and the next question works."""
    with bench.asker() as asker:
        for _ in range(3):
            expect(asker.password("carol", "carol-pw"), "valid", "carol")
            expect(asker.password("alice", "wrong"), "invalid")


# ---- groups ----

ALICE_DIRECT = ["staff", "Research, North"]
ALICE_ALL = ["staff", "all", "ring", "unique", "Research, North", "wheel", "primary"]


@case
def groups_in_each_mode(bench):
    for settings in ({}, {"template": f"uid={{user}},{PEOPLE}"},
                     {"template": f"uid={{user}},{PEOPLE}", "bind_dn": None, "password_file": None}):
        with bench.asker(groups="none", **settings) as asker:
            expect(asker.password("alice", "al1ce pw"), "valid", "alice", groups=[])
        with bench.asker(groups="member-of", **settings) as asker:
            expect(asker.password("alice", "al1ce pw"), "valid", "alice", groups=ALICE_DIRECT)
            expect(asker.password("bob", "b0b-pw"), "valid", "bob", groups=[])
            expect(asker.password("jürgen", "jürgenpw"), "valid", "jürgen", groups=["Küche (süß)*"])
            expect(asker.password("alice", "wrong"), "invalid", groups=[])
        with bench.asker(groups="member", **settings) as asker:
            expect(asker.password("alice", "al1ce pw"), "valid", "alice", groups=ALICE_ALL)
            expect(asker.password("bob", "b0b-pw"), "valid", "bob", groups=[])
            expect(asker.password("jürgen", "jürgenpw"), "valid", "jürgen", groups=["Küche (süß)*", "above-küche"])
            expect(asker.password("o,brien", "comma-pw"), "valid", "o,brien", groups=["commas"])


@case
def groups_have_a_depth(bench):
    with bench.asker(groups="member") as asker:
        expect(asker.password("carol", "carol-pw"), "valid", "carol", groups=[f"deep{i}" for i in range(1, 10)])


@case
def groups_of_others(bench):
    """Of users who proved by Kerberos who they are."""
    with bench.asker(groups="member") as asker:
        expect(asker.groups("alice"), "valid", groups=ALICE_ALL)
        expect(asker.groups("alice@EXAMPLE.TEST"), "valid", groups=ALICE_ALL)
        expect(asker.groups("alice@ELSEWHERE.TEST"), "valid", groups=[])
        expect(asker.groups("nobody"), "valid", groups=[])
        expect(asker.groups("*"), "valid", groups=[])
        expect(asker.groups("twin"), "unavailable", "", "several")
    with bench.asker(groups="member-of") as asker:
        expect(asker.groups("alice"), "valid", groups=ALICE_DIRECT)
    with bench.asker(groups="member", template=f"uid={{user}},{PEOPLE}") as asker:
        expect(asker.groups("alice"), "valid", groups=ALICE_ALL)
    with bench.asker(groups="none") as asker:
        expect(asker.groups("alice"), "unavailable", "", "groups")


@case
def groups_that_cannot_be_read_whole(bench):
    """Rules may deny by group: somebody whose groups are not all known is not let in."""
    with slapd.Slapd(bench.certificate(), more="sizelimit 3") as small:
        with bench.asker(server=small, groups="member") as asker:
            expect(asker.password("alice", "al1ce pw"), "unavailable", "", "imit")
            expect(asker.groups("alice"), "unavailable", "", "imit")
            expect(asker.password("bob", "b0b-pw"), "valid", "bob", groups=[])
    with slapd.Slapd(bench.certificate(), more="sizelimit unlimited") as large:
        large.add("".join(f"dn: cn=g{i},ou=groups,{slapd.BASE}\nobjectClass: groupOfNames\ncn: g{i}\n"
                          f"member: uid={'bob' if i < 1024 else 'star'},{PEOPLE}\n\n" for i in range(1024 + 1030)))
        for mode in ("member", "member-of"):
            with bench.asker(server=large, groups=mode, timeout="30s") as asker:
                answer = asker.password("bob", "b0b-pw")
                assert answer["verdict"] == "valid" and len(answer["groups"]) == 1024, answer["why"]
                expect(asker.password("star", "star-pw"), "unavailable")
    with bench.asker(groups="member", base="dc=elsewhere,dc=test", template=f"uid={{user}},{PEOPLE}") as asker:
        expect(asker.password("alice", "al1ce pw"), "unavailable", "", "No such object")


# ---- TLS ----

@case
def certificates_are_verified(bench):
    now = time.time()

    def stamp(days):
        return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(now + days * 86400))

    wrong = {"self-signed": bench.certificate("unknown", authority=bench.stranger),
             "expired": bench.certificate("expired", begin=stamp(-10), end=stamp(-1)),
             "not yet valid": bench.certificate("early", begin=stamp(5), end=stamp(9)),
             "mismatch": bench.certificate("elsewhere", "DNS:elsewhere.test,IP:127.0.0.2")}
    for name, certificate in wrong.items():
        with slapd.Slapd(certificate) as server:
            for settings in ({"servers": [server.tls_uri]}, {"servers": [server.uri], "starttls": True}):
                for asker in (bench.asker(**settings), bench.by_template(**settings)):
                    with asker:
                        expect(asker.password("alice", "al1ce pw"), "unavailable", "", settings["servers"][0], "certificate", name)
    with slapd.Slapd(wrong["self-signed"]) as server, bench.asker(server=server, ca=str(bench.stranger.certificate)) as asker:
        expect(asker.password("alice", "al1ce pw"), "valid", "alice")


@case
def the_systems_configuration_does_not_loosen(bench):
    """LDAPTLS_REQCERT=never and an ldap.conf of the same kind change nothing."""
    (bench.folder / "loose.conf").write_text("TLS_REQCERT never\nTLS_REQSAN never\n")
    loose = {**os.environ, "LDAPTLS_REQCERT": "never", "LDAPCONF": str(bench.folder / "loose.conf")}
    with slapd.Slapd(bench.certificate("unknown", authority=bench.stranger)) as server:
        with bench.asker(server=server, env=loose) as asker:
            expect(asker.password("alice", "al1ce pw"), "unavailable")
        with bench.asker(server=server, ca=None, env={**loose, "LDAPTLS_CACERT": str(bench.stranger.certificate)}) as asker:
            expect(asker.password("alice", "al1ce pw"), "unavailable")


@case
def an_authority_that_cannot_be_read(bench):
    (bench.folder / "no.pem").write_text("this is none\n")
    for path in ("nowhere.pem", "no.pem"):
        with bench.asker(ca=str(bench.folder / path)) as asker:
            expect(asker.password("alice", "al1ce pw"), "unavailable")


@case
def starttls_or_nothing(bench):
    """A server that has none, or refuses, gets no password; neither does one that somebody changed on the way."""
    with slapd.Slapd(None) as plain, bench.asker(server=plain, servers=[plain.uri], starttls=True) as asker:
        expect(asker.password("alice", "al1ce pw"), "unavailable", "", plain.uri, "StartTLS")
    seen = []

    def says_no(connection):
        data = connection.recv(4096)
        seen.append(data)
        # ExtendedResponse of message 1: protocolError; then whatever else comes is kept.
        connection.sendall(bytes.fromhex("300c02010178070a010204000400"))
        seen.append(connection.recv(4096))

    def says_yes_in_clear(connection):
        seen.append(connection.recv(4096))
        connection.sendall(bytes.fromhex("300c02010178070a010004000400"))
        seen.append(connection.recv(4096))
        connection.sendall(bytes.fromhex("300c02010261070a010004000400"))
        seen.append(connection.recv(4096))

    for serve in (says_no, says_yes_in_clear):
        listener = Listener(serve)
        with bench.by_template(servers=[listener.uri], starttls=True, timeout="1s") as asker:
            expect(asker.password("alice", "al1ce pw"), "unavailable", "", listener.uri)
        listener.close()
    assert any(b"1.3.6.1.4.1.1466.20037" in data for data in seen), seen
    assert not any(b"al1ce" in data for data in seen), seen


@case
def strong_authentication_is_asked_for(bench):
    """A server that takes no passwords in clear, asked in clear."""
    with slapd.Slapd(bench.certificate(), more="security simple_bind=128") as strict:
        with bench.asker(server=strict, servers=[strict.uri]) as asker:
            expect(asker.password("alice", "al1ce pw"), "unavailable", "", "onfidentiality")
        with bench.asker(server=strict, servers=[strict.uri], starttls=True) as asker:
            expect(asker.password("alice", "al1ce pw"), "valid", "alice")


# ---- servers that do not answer ----

@case
def refused_and_silent(bench):
    silent, port = Listener(), rigs.free_port()
    for servers, text in (([f"ldaps://127.0.0.1:{port}"], "127.0.0.1"), ([silent.tls_uri], silent.tls_uri),
                          ([silent.uri], silent.uri), ([], "no directory")):
        for starttls in (False, True):
            for asker in (bench.asker(servers=servers, timeout="1s", starttls=starttls),
                          bench.by_template(servers=servers, timeout="1s", starttls=starttls)):
                with asker:
                    began = time.monotonic()
                    expect(asker.password("alice", "al1ce pw"), "unavailable", "", text)
                    took = time.monotonic() - began
                    assert took < PATIENCE_S, took
                    assert silent.port != port and ("127.0.0.1" not in text or str(port) in servers[0] or took > 0.9), took
    silent.close()


@case
def failover_to_the_second(bench):
    """And who was silent is asked last for a while."""
    silent, port = Listener(), rigs.free_port()
    good = bench.server.tls_uri
    for first in (f"ldaps://127.0.0.1:{port}", silent.tls_uri):
        with bench.asker(servers=[first, good], timeout="1s") as asker:
            expect(asker.password("alice", "al1ce pw"), "valid", "alice")
            before = silent.count
            for _ in range(3):
                expect(asker.password("alice", "al1ce pw"), "valid", "alice")
                expect(asker.password("alice", "wrong"), "invalid")
            assert silent.count == before, "the dead one was asked again"
    wrong = slapd.Slapd(bench.certificate("elsewhere", "DNS:elsewhere.test"))
    with wrong, bench.asker(servers=[wrong.tls_uri, good]) as asker:
        expect(asker.password("alice", "al1ce pw"), "valid", "alice")
    with bench.asker(servers=[silent.tls_uri] * 10, timeout="1s") as asker:
        began = time.monotonic()
        expect(asker.password("alice", "al1ce pw"), "unavailable")
        assert silent.count < 20 and time.monotonic() - began < PATIENCE_S
    silent.close()


@case
def a_wrong_password_is_asked_once(bench):
    """Failing over with it would lock the account, server by server."""
    with slapd.Slapd(bench.certificate()) as first:
        with bench.asker(servers=[first.tls_uri, bench.server.tls_uri]) as asker:
            expect(asker.password("locked", "wrong"), "invalid")
            expect(asker.password("locked", "wrong"), "invalid")
            expect(asker.password("locked", "locked-pw"), "valid", "locked")


@case
def the_server_ends_and_comes_back(bench):
    with slapd.Slapd(bench.certificate()) as server:
        with bench.asker(server=server, groups="member") as asker:
            expect(asker.password("alice", "al1ce pw"), "valid", "alice", groups=ALICE_ALL)
            server.halt()
            expect(asker.password("alice", "al1ce pw"), "unavailable", "", server.tls_uri)
            expect(asker.groups("alice"), "unavailable", "", server.tls_uri)
            server.resume()
            expect(asker.password("alice", "al1ce pw"), "valid", "alice", groups=ALICE_ALL)
            server.halt()
            server.resume()  # the connection that was kept is dead, and nobody has noticed
            expect(asker.groups("alice"), "valid", groups=ALICE_ALL)
        with bench.asker(server=server, servers=[server.tls_uri, bench.server.tls_uri]) as asker:
            expect(asker.password("alice", "al1ce pw"), "valid", "alice")
            server.halt()
            expect(asker.password("alice", "al1ce pw"), "valid", "alice")
            server.resume()


@case
def slow_and_frozen(bench):
    with slapd.Slapd(bench.certificate()) as server:
        with bench.asker(server=server, timeout="20s") as asker:
            server.freeze()
            thaw = threading.Timer(0.5, server.thaw)
            thaw.start()
            expect(asker.password("alice", "al1ce pw"), "valid", "alice")
            thaw.join()
        with bench.asker(server=server, timeout="1s") as asker:
            expect(asker.password("alice", "al1ce pw"), "valid", "alice")
            server.freeze()
            began = time.monotonic()
            expect(asker.password("alice", "al1ce pw"), "unavailable")
            assert 0.9 < time.monotonic() - began < PATIENCE_S
            server.thaw()
            expect(asker.password("alice", "al1ce pw"), "valid", "alice")
            expect(asker.password("alice", "wrong"), "invalid")


@case
def garbage_from_the_server(bench):
    def dribble(connection):
        connection.recv(4096)
        for _ in range(300):
            connection.sendall(b"\x30")
            time.sleep(0.1)

    def noise(connection):
        connection.recv(4096)
        connection.sendall(bytes(range(256)) * 16)

    def huge(connection):
        connection.recv(4096)
        connection.sendall(bytes.fromhex("30847fffffff020101") + b"\x61" * 65536)

    def gone(connection):
        connection.recv(4096)
        connection.shutdown(socket.SHUT_RDWR)

    for serve in (dribble, noise, huge, gone):
        listener = Listener(lambda connection, serve=serve: quietly(serve, connection))
        for asker in (bench.by_template(servers=[listener.uri], timeout="1s"), bench.asker(servers=[listener.uri], timeout="1s"),
                      bench.asker(servers=[listener.uri], starttls=True, timeout="1s"),
                      bench.asker(servers=[listener.tls_uri], timeout="1s")):
            with asker:
                began = time.monotonic()
                expect(asker.password("alice", "al1ce pw"), "unavailable")
                assert time.monotonic() - began < PATIENCE_S
        listener.close()


def quietly(serve, connection):
    try:
        serve(connection)
    except OSError:
        pass


@case
def servers_that_may_not_be_asked(bench):
    """ldap:// to anybody but loopback: the password would be seen. The configuration is refused, by the backend's own judgement."""
    for server in ("ldap://192.0.2.1", "ldap://example.test", "ldap://127.evil.test", "http://127.0.0.1", "127.0.0.1", "ldap://",
                   f"{bench.server.uri} ldap://192.0.2.1", f"{bench.server.uri},ldap://192.0.2.1"):
        try:
            with bench.asker(servers=[server], timeout="1s") as asker:
                asker.password("alice", "al1ce pw")
        except (AssertionError, BrokenPipeError) as error:
            assert "backend_try ended" in str(error) or isinstance(error, BrokenPipeError), error
        else:
            raise AssertionError(f"taken: {server}")


# ---- threads, reload ----

@case
def threads(bench):
    with bench.asker(groups="member") as asker:
        for user, password, verdict in (("alice", "al1ce pw", "valid"), ("bob", "wrong", "invalid")):
            answers = asker.many(16, user, password)
            assert all(answer["verdict"] == verdict for answer in answers), answers
            assert all(sorted(answer["groups"]) == sorted(ALICE_ALL if verdict == "valid" else []) for answer in answers), answers


@case
def reload(bench):
    with slapd.Slapd(bench.certificate()) as other:
        conf = bench.conf()
        with bench.asker(conf) as asker:
            expect(asker.password("alice", "al1ce pw"), "valid", "alice")
            asker.reload(bench.conf(base=f"ou=others,{slapd.BASE}"))
            expect(asker.password("alice", "al1ce pw"), "unknown-user")
            asker.reload(bench.conf(server=other, groups="member"))
            bench.server.freeze()
            try:
                expect(asker.password("alice", "al1ce pw"), "valid", "alice", groups=ALICE_ALL)
            finally:
                bench.server.thaw()
            asker.reload(bench.conf(password_file=bench.secret("wrong")))
            expect(asker.password("alice", "al1ce pw"), "unavailable", "", "bind_dn")
            asker.reload(bench.conf())
            expect(asker.password("alice", "al1ce pw"), "valid", "alice")


# ---- Active Directory ----

class DomainBench(Bench):
    """In the network of the joined machine."""

    def __init__(self, folder, program, rig):
        super().__init__(folder, program)
        self.rig = rig

    def domain(self, **ldap):
        conf = {"servers": [self.rig.ldap_server], "ca": str(self.rig.ldap_ca), "base": "dc=ad,dc=test", "timeout": "10s"}
        conf.update(ldap)
        return self.asker({"ldap": {key: value for key, value in conf.items() if value is not None}}, prefix=self.rig.inside())

    def service(self, **ldap):
        return self.domain(bind_dn="svcproxy@ad.test", password_file=self.secret(self.rig.passwords["svcproxy"]), **ldap)


@domain_case
def ad_passwords(bench):
    words = bench.rig.passwords
    for asker in (bench.service(), bench.service(servers=["ldap://dc1.ad.test"], starttls=True),
                  bench.domain(template="{user}@ad.test"), bench.domain(template="ADTEST\\{user}"),
                  bench.domain(template="{user}@ad.test", base=None)):
        with asker:
            expect(asker.password("bob", words["bob"]), "valid", "bob")
            expect(asker.password("BOB", words["bob"]), "valid", "bob")
            expect(asker.password("bob@ad.test", words["bob"]), "valid", "bob@ad.test")
            expect(asker.password("ADTEST\\bob", words["bob"]), "valid", "bob")
            expect(asker.password("bob", "wrong"), "invalid", "", "wrong")
            expect(asker.password("bob", ""), "invalid", "", "empty")


@domain_case
def ad_accounts_that_may_not(bench):
    words = bench.rig.passwords
    with bench.service() as asker:
        expect(asker.password("jürgen", words["jürgen"]), "valid", "jürgen")
        expect(asker.password("nobody", "x"), "unknown-user")
        expect(asker.password("disabled", words["disabled"]), "invalid", "", "disabled")
        expect(asker.password("expired", words["expired"]), "invalid", "", "expired")
        for _ in range(3):
            expect(asker.password("locked", "wrong"), "invalid")
        expect(asker.password("locked", words["locked"]), "invalid", "", "locked")
    with bench.domain(template="{user}@ad.test") as asker:
        answer = asker.password("nobody", "x")
        assert answer["verdict"] in ("unknown-user", "invalid"), answer


@domain_case
def ad_hostile_names(bench):
    with bench.service() as search, bench.domain(template="{user}@ad.test") as template:
        for name in HOSTILE:
            for asker in (search, template):
                name = name if isinstance(name, bytes) else name.replace("alice", "bob")
                answer = asker.password(name, bench.rig.passwords["bob"])
                assert answer["verdict"] != "valid" or answer["user"] == "bob", (name, answer)


@domain_case
def ad_groups(bench):
    words = bench.rig.passwords
    for settings in ({"groups": "nested"}, {"groups": "member"}):
        for asker in (bench.service(**settings), bench.domain(template="{user}@ad.test", **settings)):
            with asker:
                answer = asker.password("alice", words["alice"])
                expect(answer, "valid", "alice")
                assert {"proxy-users", "proxy-all"} <= set(answer["groups"]), answer
                answer = asker.password("bob", words["bob"])
                expect(answer, "valid", "bob")
                assert not [group for group in answer["groups"] if "proxy" in group], answer
    with bench.service(groups="member-of") as asker:
        answer = asker.password("alice", words["alice"])
        assert "proxy-users" in answer["groups"] and "proxy-all" not in answer["groups"], answer
    with bench.service(groups="nested") as asker:
        assert {"proxy-users", "proxy-all"} <= set(asker.groups("alice@AD.TEST")["groups"])
        expect(asker.groups("alice@OTHER.TEST"), "valid", groups=[])


@domain_case
def ad_in_clear(bench):
    """Refused by us before it is asked; and by the domain, where it is loopback that asks."""
    with bench.service(servers=["ldaps://dc1.ad.test"], ca=str(bench.authority.certificate)) as asker:
        expect(asker.password("bob", bench.rig.passwords["bob"]), "unavailable", "", "dc1.ad.test")
    with bench.service(servers=["ldap://127.0.0.1"]) as asker:
        expect(asker.password("bob", bench.rig.passwords["bob"]), "unavailable", "", "TLS")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", default="build/asan/tests/backend_try", help="backend_try")
    parser.add_argument("case", nargs="*", help="parts of names of cases")
    options = parser.parse_args()
    program = pathlib.Path(options.program).resolve()
    with tempfile.TemporaryDirectory(prefix="sallyport-ldap-") as folder:
        bench = Bench(pathlib.Path(folder), program)
        with slapd.Slapd(bench.certificate()) as server:
            bench.server = server
            passed, failed = rigs.run_cases(CASES, bench, options.case)
        more = (0, 0)
        if not options.case or [one for one in DOMAIN_CASES if any(word in one.__name__ for word in options.case)]:
            with rigs.Samba() as rig:
                more = rigs.run_cases(DOMAIN_CASES, DomainBench(pathlib.Path(folder), program, rig), options.case)
    print(f"ldap: {passed + more[0]} passed, {failed + more[1]} failed")
    return failed + more[1] != 0


if __name__ == "__main__":
    sys.exit(main())
