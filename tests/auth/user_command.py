#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The commands `sallyport user` and `sallyport auth test`, without a proxy: what they write, say and refuse.
Ends with "user: N passed, M failed"."""
import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import pty
import select
import shutil
import sys
import tempfile
import time

import yaml

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from auth_site import PATIENCE_S, REALM, run, run_rows  # noqa: E402


class Place:
    """A folder with a configuration and nothing else."""

    def __init__(self, binary, schemes="basic digest ntlm", text=None, **more):
        self.binary, self.folder = binary, pathlib.Path(tempfile.mkdtemp(prefix="sallyport-user-"))
        self.config, self.users = self.folder / "sallyport.yaml", self.folder / "users"
        authentication = {"realm": REALM, "users": "users", "schemes": schemes.split(), **more}
        self.config.write_text(yaml.safe_dump({
            "listen": [{"name": "main", "address": "127.0.0.1:0"}], "policy": "policy.yaml", "control": "run/s.sock",
            "authentication": authentication}))
        (self.folder / "policy.yaml").write_text("defaults: {access: allow, tls: bypass, auth: required}\n")
        if text is not None:
            self.users.write_text(text)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder)

    def user(self, *words, status=0, text=None):
        return run([self.binary, "user", words[0], "-c", self.config, *words[1:]], status=status, text=text)

    def test(self, *words, status=0, text=None):
        return run([self.binary, "auth", "test", "-c", self.config, *words], status=status, text=text)

    def line(self, name):
        return next(line for line in self.users.read_text().splitlines() if line.startswith(name + ":"))


def ha1(name, password, kind):
    return hashlib.new(kind, f"{name}:{REALM}:{password}".encode()).hexdigest()


def says(text, *parts):
    for part in parts:
        assert part in text, f"{part!r} is not in:\n{text}"


class Rows:
    def __init__(self, binary):
        self.place = lambda *args, **more: Place(binary, *args, **more)

    def one_line_with_every_verifier(self):
        with self.place() as place:
            says(place.user("add", "alice", "--group", "staff", "--group", "it", text="alicepw\n"), "crypt (Basic)", "nt (NTLM)")
            line = place.line("alice")
            says(line, "$y$", ha1("alice", "alicepw", "sha256"), ha1("alice", "alicepw", "md5"), "staff", "it")
            assert "alicepw" not in place.users.read_text()
            assert place.users.stat().st_mode & 0o777 == 0o600

    def just_what_the_schemes_need(self):
        for schemes, has, has_not in (("basic", ["crypt"], ["sha256", "md5", "nt"]), ("digest", ["sha256", "md5"], ["crypt", "nt"]),
                                      ("ntlm", ["nt"], ["crypt", "sha256", "md5"])):
            with self.place(schemes) as place:
                place.user("add", "alice", text="alicepw\n")
                [entry] = json.loads(place.user("list", "--json"))
                assert all(entry[kind] for kind in has) and not any(entry[kind] for kind in has_not), (schemes, entry)

    def digest_of_one_algorithm(self):
        with self.place("digest", digest={"algorithms": ["SHA-256"]}) as place:
            place.user("add", "alice", text="alicepw\n")
            assert ha1("alice", "alicepw", "md5") not in place.line("alice")

    def no_scheme_yet(self):
        with self.place() as place:
            config = yaml.safe_load(place.config.read_text())
            del config["authentication"]["schemes"]
            place.config.write_text(yaml.safe_dump(config))
            says(place.user("add", "alice", text="alicepw\n"), "no scheme", "nt (NTLM)")

    def changed_in_place_and_groups_stay(self):
        with self.place() as place:
            for name in ("a", "b", "c"):
                place.user("add", name, "--group", name + "s", text="one\n")
            place.users.write_text("# by hand\n" + place.users.read_text())
            before = place.users.read_text().splitlines()
            says(place.user("add", "b", text="two\n"), "changed")
            after = place.users.read_text().splitlines()
            assert [line for line in after if not line.startswith("b:")] == [line for line in before if not line.startswith("b:")]
            assert after[2].startswith("b:") and after[2] != before[2]
            assert {entry["name"]: entry["groups"] for entry in json.loads(place.user("list", "--json"))}["b"] == ["bs"]
            says(place.user("check", "b", text="two\n"), "basic            right", "ntlm             right")
            says(place.user("check", "b", status=1, text="one\n"), "wrong")

    def removed(self):
        with self.place() as place:
            for name in ("alice", "bob"):
                place.user("add", name, text="pw\n")
            says(place.user("remove", "alice"), "removed")
            assert place.users.read_text().startswith("bob:")
            says(place.user("remove", "bobb", status=1), "bobb is not in", "did you mean bob?")

    def names_that_cannot_be(self):
        with self.place() as place:
            for name in ("a:b", "", "a\nb", "a" * 257):
                place.user("add", name, status=2, text="pw\n")
            assert not place.users.exists()
            for name in ("jürgen", "a b", "#alice", "DOM\\alice", "alice@ad.test", "'\"$(id)"):
                place.user("add", name, text="pw\n")
                place.user("check", name, text="pw\n")
            names = [entry["name"] for entry in json.loads(place.user("list", "--json"))]
            assert "#alice" in names and "jürgen" in names and "'\"$(id)" in names, names

    def passwords_that_cannot_be(self):
        with self.place() as place:
            says(place.user("add", "alice", status=2, text="\n"), "empty")
            says(place.user("add", "alice", status=2, text="x" * 512 + "\n"), "longer than 511")
            place.user("add", "longest", text="x" * 511 + "\n")
            says(place.user("add", "alice", status=2, text="a\0b\n"), "NUL")
            says(place.user("add", "alice", text="a b:ü \r\n"), "carriage return")
            assert not place.user("check", "alice", text="a b:ü \r\n").count("wrong")

    def no_password_as_an_argument(self):
        with self.place() as place:
            place.user("add", "alice", "alicepw", status=2, text="alicepw\n")
            place.user("add", "alice", "--password", "alicepw", status=2, text="alicepw\n")
            assert not place.users.exists()

    def from_a_terminal_twice_and_unseen(self):
        with self.place() as place:
            assert self.typed(place, ["alicepw", "alicepw"])[0] == 0
            place.user("check", "alice", text="alicepw\n")
            status, screen = self.typed(place, ["xyzzy", "plugh"])
            assert status == 2, status
            says(screen, "not the same")
            assert "xyzzy" not in screen and "plugh" not in screen, screen
            place.user("check", "alice", text="alicepw\n")

    @staticmethod
    def typed(place, passwords):
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(place.binary, [str(place.binary), "user", "add", "-c", str(place.config), "alice"])
        screen, limit = b"", time.monotonic() + PATIENCE_S
        waiting = list(passwords)
        while time.monotonic() < limit:
            if not select.select([terminal], [], [], 1)[0]:
                continue
            try:
                screen += os.read(terminal, 4096)
            except OSError:
                break
            if waiting and screen.count(b": ") > len(passwords) - len(waiting):
                os.write(terminal, waiting.pop(0).encode() + b"\n")
        os.close(terminal)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), screen.decode()

    def htpasswd_as_it_is(self):
        text = "\n".join(["apr1:" + self.openssl("-apr1"), "sha512:" + self.openssl("-6"), "sha256:" + self.openssl("-5")]) + "\n"
        with self.place("basic", text=text) as place:
            if shutil.which("htpasswd"):
                run(["htpasswd", "-bB", place.users, "bcrypt", "pw"])
                place.user("check", "bcrypt", text="pw\n")
            for name in ("apr1", "sha512", "sha256"):
                place.user("check", name, text="pw\n")
                place.user("check", name, status=1, text="px\n")
            place.user("add", "bob", text="pw\n")
            assert place.users.read_text().startswith(text), "the lines of htpasswd have changed"

    @staticmethod
    def openssl(kind):
        return run(["openssl", "passwd", kind, "pw"]).strip()

    def plain_refused(self):
        for text, why in (("alice:secretpw\n", "users:1:1"), ("ok:$6$abc$" + "x" * 86 + "\nbob:{PLAIN}x\n", "users:2:1"),
                          ("alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n", "no salt")):
            with self.place("basic", text=text) as place:
                said = place.user("list", status=2)
                says(said, "users", why)
                assert "secretpw" not in said
                place.user("add", "carol", status=2, text="pw\n")
                assert place.users.read_text() == text, "a file that cannot be read was written"

    def htdigest_as_it_is(self):
        text = f"alice:{REALM}:{ha1('alice', 'pw', 'md5')}\nalice:Other:{'0' * 32}\n"
        with self.place("digest", digest={"algorithms": ["MD5"]}, text=text) as place:
            says(place.user("check", "alice", text="pw\n"), "right")
            says(place.user("check", "alice", status=1, text="no\n"), "wrong")

    def several_files(self):
        with self.place(users=["users", "more"]) as place:
            place.user("add", "alice", text="pw\n")
            (place.folder / "more").touch()
            place.user("add", "bob", "--file", "more", text="pw\n")
            assert (place.folder / "more").read_text().startswith("bob:")
            assert len(json.loads(place.user("list", "--json"))) == 2
            says(place.user("add", "bob", "--file", "nowhere", status=2, text="pw\n"), "nowhere")

    def file_by_its_name(self):
        """The last parts of a path, and not any end of it."""
        with self.place(users=["users", "other-users"]) as place:
            place.user("add", "alice", "--file", "users", text="pw\n")
            assert place.users.read_text().startswith("alice:") and not (place.folder / "other-users").exists()
            for wrong in ("sers", "s", ""):
                says(place.user("add", "bob", "--file", wrong, status=2, text="pw\n"), "no such file")
            place.user("add", "bob", "--file", place.folder / "other-users", text="pw\n")
            assert (place.folder / "other-users").read_text().startswith("bob:")

    def a_user_is_changed_where_he_is(self):
        with self.place(users=["users", "more"]) as place:
            place.user("add", "alice", text="pw\n")
            place.user("add", "bob", "--file", "more", text="pw\n")
            before = place.users.read_text()
            says(place.user("add", "bob", text="new\n"), "changed", "/more")
            place.user("check", "bob", text="new\n")
            assert place.users.read_text() == before
            says(place.user("add", "bob", "--file", "users", status=2, text="pw\n"), "bob is in ", "/more already")
            place.user("remove", "bob")
            assert (place.folder / "more").read_text() == "" and place.users.read_text() == before
            says(place.user("remove", "alice", "--file", "more", status=1), "alice is not in ")
            assert place.users.read_text() == before

    def twice_is_refused_and_can_be_put_right(self):
        line = "alice:nt=" + "0" * 32 + "\n"
        with self.place("ntlm", users=["users", "more"], text="# one\n" + line) as place:
            (place.folder / "more").write_text("bob:nt=" + "1" * 32 + "\n" + line)
            says(place.user("list", status=2), "more:2:1", "alice is there already", "users:2")
            says(place.user("add", "carol", status=2, text="pw\n"), "more:2:1")
            says(place.user("add", "alice", status=2, text="pw\n"), "2 files", "--file FILE")
            says(place.user("remove", "alice", status=2), "2 files")
            assert place.users.read_text() == "# one\n" + line, "a file was written"
            place.user("remove", "alice", "--file", "more")
            assert [entry["name"] for entry in json.loads(place.user("list", "--json"))] == ["alice", "bob"]

    def all_else_stays_byte_for_byte(self):
        other = f"alice:Other:{'0' * 32}\r\n"
        before = f"# comment\r\n\r\nalice:{REALM}:{'1' * 32}\r\n{other}  \nbob:nt={'2' * 32}:groups=a%2cb"
        with self.place("digest", digest={"algorithms": ["MD5"]}, text=before) as place:
            place.user("add", "alice", text="pw\n")
            new = place.line("alice")
            assert place.users.read_bytes().decode() == f"# comment\r\n\r\n{new}\n{other}  \nbob:nt={'2' * 32}:groups=a%2cb"
            place.user("remove", "alice")
            assert place.users.read_bytes().decode() == f"# comment\r\n\r\n  \nbob:nt={'2' * 32}:groups=a%2cb"
            place.user("add", "carol", text="pw\n")
            assert place.users.read_bytes().decode().split("\n")[-3:-1] == [f"bob:nt={'2' * 32}:groups=a%2cb", place.line("carol")]

    def mode_and_links_stay(self):
        with self.place() as place:
            real = place.folder / "real"
            real.write_text("")
            real.chmod(0o640)
            place.users.symlink_to("real")
            place.user("add", "alice", text="pw\n")
            assert place.users.is_symlink() and real.stat().st_mode & 0o777 == 0o640
            assert sorted(path.name for path in place.folder.iterdir()) == ["policy.yaml", "real", "sallyport.yaml", "users"]

    def misspelt_fields(self):
        with self.place(text="alice:sha265=" + "0" * 64 + "\n") as place:
            says(place.user("list", status=2), "users:1:1", "did you mean sha256?")

    def names_that_are_no_text(self):
        with self.place() as place:
            says(place.user("add", os.fsdecode(b"j\xfcrgen"), status=2, text="pw\n"), "UTF-8")
            says(place.user("add", "alice", "--group", "a:b", status=2, text="pw\n"), "--group")
            assert json.loads(place.user("list", "--json")) == []

    def at_once(self):
        with self.place("digest") as place, concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda i: place.user("add", f"u{i}", text="pw\n"), range(24)))
            assert len(json.loads(place.user("list", "--json"))) == 24

    def no_user_file(self):
        with self.place() as place:
            config = yaml.safe_load(place.config.read_text())
            del config["authentication"]["users"]
            config["authentication"]["schemes"] = []
            place.config.write_text(yaml.safe_dump(config))
            says(place.user("add", "alice", status=2, text="pw\n"), "authentication: {users: users}")

    def tests_each_scheme(self):
        with self.place() as place:
            place.user("add", "alice", "--group", "staff", text="alicepw\n")
            for scheme in ("basic", "digest", "ntlm"):
                says(place.test(scheme, "--user", "alice", text="alicepw\n"), "alice", "staff")
                said = place.test(scheme, "--user", "alice", status=1, text="wrong\n")
                assert "wrong\n" not in said and "alicepw" not in said, said
                place.test(scheme, "--user", "nobody", status=1, text="alicepw\n")

    def tests_what_is_not_offered(self):
        with self.place("digest") as place:
            says(place.test("basic", "--user", "alice", status=1, text="pw\n"), "schemes does not offer basic")
            place.test("basicc", "--user", "alice", status=2, text="pw\n")
            place.test("digest", status=2, text="pw\n")

    def tests_a_missing_verifier(self):
        with self.place("basic", text="alice:" + self.openssl("-6") + "\n") as place:
            config = yaml.safe_load(place.config.read_text())
            config["authentication"]["schemes"] = ["digest"]
            place.config.write_text(yaml.safe_dump(config))
            says(place.test("digest", "--user", "alice", status=1, text="pw\n"), "no verifier for SHA-256", "user add")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sallyport", required=True, type=lambda text: pathlib.Path(text).resolve())
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    rows = Rows(options.sallyport)
    found = [(name, getattr(rows, name)) for name, what in vars(Rows).items() if callable(what) and name[0] != "_"
             and name not in ("typed", "openssl")]
    return run_rows("user", found, options.only)


if __name__ == "__main__":
    sys.exit(main())
