#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The PAM backend with stacks of a private folder: asked directly, as commands do, and through a process of the role pam. Ends
with one line: "pam: N passed, M failed"."""
import argparse
import crypt
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "rigs"))
import rigs  # noqa: E402

CASES = []
PATIENCE_S = 30
PASSWORDS = {"alice": "al1ce pw", "jürgen": "jürgenpw", "locked": "locked-pw", "long": "x" * 500}


def case(function):
    CASES.append(function)
    return function


def encode(text):
    data = text if isinstance(text, bytes) else text.encode()
    return "".join(chr(byte) if 0x20 < byte < 0x7f and byte != 0x25 else f"%{byte:02X}" for byte in data)


class Asker:
    """backend_try, which stays. As a context; its end must be in order."""

    def __init__(self, words, conf):
        self.process = subprocess.Popen([*map(str, words), str(conf)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, encoding="utf-8")
        self.role = None
        if "pam-role" in words:
            self.role = int(self.process.stderr.readline().removeprefix("role="))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.process.stdin.close()
        said = self.process.stderr.read()
        status = self.process.wait(PATIENCE_S)
        assert kind or (status == 0 and not said), (status, said)

    def send(self, *words):
        self.process.stdin.write("\t".join(words) + "\n")
        self.process.stdin.flush()

    def answer(self):
        line = self.process.stdout.readline()
        assert line, "backend_try ended: " + self.process.stderr.read()
        return json.loads(line)

    def password(self, user, password):
        self.send("password", encode(user), encode(password))
        return self.answer()

    def many(self, count, user, password):
        self.send("many", str(count), encode(user), encode(password))
        return [self.answer() for _ in range(count)]

    def children(self):
        return pathlib.Path(f"/proc/{self.role}/task/{self.role}/children").read_text().split()


class Bench:
    def __init__(self, folder, program):
        self.folder, self.program, self.count = folder, program, 0
        self.stacks = folder / "stacks"
        self.stacks.mkdir()
        users = folder / "users"
        users.write_text("".join(f"{user}:{crypt.crypt(password, crypt.mksalt(crypt.METHOD_SHA256))}\n"
                                 for user, password in PASSWORDS.items()), encoding="utf-8")
        self.file = f"auth required pam_pwdfile.so pwdfile={users}\n"
        self.stack("file", self.file + "account required pam_permit.so\n")
        self.stack("other", "auth required pam_permit.so\naccount required pam_permit.so\n")

    def stack(self, name, text):
        (self.stacks / name).write_text(text)

    def script(self, name, text):
        path = self.folder / name
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)
        return path

    def asker(self, service="file", mode="pam-role", timeout="20s", prefix=(), program=None, folder=None, **more):
        self.count += 1
        conf = self.folder / f"conf-{self.count}"
        conf.write_text(json.dumps({"pam": {"service": service, "folder": str(folder or self.stacks), "timeout": timeout}, **more}))
        return Asker([*prefix, program or self.program, mode], conf)

    def both(self, service="file", **more):
        """Directly, then through the role."""
        for mode in ("pam", "pam-role"):
            with self.asker(service, mode, **more) as asker:
                yield asker


def expect(answer, verdict, user="", *texts):
    assert answer["verdict"] == verdict and answer["user"] == user, answer
    assert verdict == "valid" or answer["why"], answer
    assert not answer["groups"] and "\n" not in answer["why"], answer
    for text in texts:
        assert text in answer["why"], (text, answer)
    for password in PASSWORDS.values():
        assert password not in answer["why"], answer


@case
def right_wrong_unknown(bench):
    for asker in bench.both():
        expect(asker.password("alice", PASSWORDS["alice"]), "valid", "alice")
        expect(asker.password("alice", "wrong"), "invalid", "", "wrong")
        expect(asker.password("nobody-of-that-name", "x"), "unknown-user", "", "not know")
        expect(asker.password("jürgen", PASSWORDS["jürgen"]), "valid", "jürgen")
        expect(asker.password("long", PASSWORDS["long"]), "valid", "long")


@case
def texts_that_pam_cannot_have(bench):
    for asker in bench.both():
        for user, password in (("alice", ""), ("alice", b"al1ce pw\0"), (b"alice\0", "al1ce pw"), ("", "x"), ("a" * 600, "x"),
                               ("alice", "x" * 600), ("alice", "x" * 60000)):
            expect(asker.password(user, password), "invalid")
        expect(asker.password("alice", PASSWORDS["alice"]), "valid", "alice")


@case
def names_are_mapped(bench):
    for asker in bench.both(domains={"CORP": ""}):
        expect(asker.password("CORP\\alice", PASSWORDS["alice"]), "valid", "alice")
        expect(asker.password("ELSEWHERE\\alice", PASSWORDS["alice"]), "unknown-user")


@case
def permit_and_deny(bench):
    bench.stack("permit", "auth required pam_permit.so\naccount required pam_permit.so\n")
    bench.stack("deny", "auth required pam_deny.so\naccount required pam_permit.so\n")
    bench.stack("deny-account", bench.file + "account required pam_deny.so\n")
    for asker in bench.both("permit"):
        expect(asker.password("whoever", "x"), "valid", "whoever")
    for asker in bench.both("deny"):
        expect(asker.password("alice", PASSWORDS["alice"]), "invalid")
    for asker in bench.both("deny-account"):
        expect(asker.password("alice", PASSWORDS["alice"]), "invalid")
        expect(asker.password("alice", "wrong"), "invalid")


@case
def accounts_that_may_not(bench):
    """What an account module says, in words."""
    for name, result, verdict, text in (("expired", "acct_expired", "invalid", "expired"),
                                        ("change", "new_authtok_reqd", "invalid", "changed"),
                                        ("old", "authtok_expired", "invalid", "expired"),
                                        ("denied", "perm_denied", "invalid", "let"),
                                        ("unknown", "user_unknown", "unknown-user", "know"),
                                        ("gone", "authinfo_unavail", "unavailable", "answer"),
                                        ("tries", "maxtries", "invalid", "locked")):
        bench.stack(name, bench.file + f"account required pam_debug.so acct={result}\n")
        for asker in bench.both(name):
            expect(asker.password("alice", PASSWORDS["alice"]), verdict, "", text)


@case
def stacks_that_are_not_there(bench):
    """PAM would take "other" then, which lets everybody in here."""
    for service in ("nothing", "../stacks/other", ".hidden"):
        for asker in bench.both(service):
            expect(asker.password("alice", PASSWORDS["alice"]), "unavailable", "", "no stack")
    for asker in bench.both(folder=bench.folder / "nowhere"):
        expect(asker.password("alice", PASSWORDS["alice"]), "unavailable", "", "no stack")


@case
def modules_that_are_not_there(bench):
    bench.stack("missing", "auth required pam_not_there.so\naccount required pam_permit.so\n")
    bench.stack("no-auth", "account required pam_permit.so\n")
    bench.stack("nonsense", "auth what is this\n\x01\n")
    for service in ("missing", "nonsense"):
        for asker in bench.both(service):
            answer = asker.password("alice", PASSWORDS["alice"])
            expect(answer, "unavailable")
    for asker in bench.both("no-auth"):  # PAM looks into "other" for what a stack leaves out
        asker.password("alice", PASSWORDS["alice"])


@case
def modules_get_what_they_ask_for(bench):
    """The password on request, the client's address, and nothing that waits for an answer."""
    seen = bench.folder / "seen"
    show = bench.script("show", f'{{ echo "$PAM_USER $PAM_RHOST $PAM_SERVICE"; head -c 100; }} >{seen}\n')
    bench.stack("show", f"auth required pam_exec.so expose_authtok {show}\naccount required pam_permit.so\n")
    for asker in bench.both("show"):
        expect(asker.password("alice", "a secret"), "valid", "alice")
        lines = seen.read_bytes().split(b"\n", 1)
        assert lines[0] == b"alice 192.0.2.7 show" and lines[1].rstrip(b"\0") == b"a secret", lines
        seen.unlink()
    bench.stack("talks", "auth optional pam_echo.so hello\n" + bench.file + "account required pam_permit.so\n")
    for asker in bench.both("talks"):
        expect(asker.password("alice", PASSWORDS["alice"]), "valid", "alice")


@case
def wrong_passwords_do_not_wait(bench):
    """pam_faildelay asks for ten seconds of sleep in a child that others need."""
    bench.stack("delay", "auth optional pam_faildelay.so delay=10000000\n" + bench.file + "account required pam_permit.so\n")
    with bench.asker("delay", timeout="5s") as asker:
        expect(asker.password("alice", "wrong"), "invalid")


@case
def a_stack_that_hangs(bench):
    """Its child is killed with what it has started, and others are answered at the same time."""
    mark = bench.folder / "pids"
    hang = bench.script("hang", f'[ "$PAM_USER" = hang ] || exit 0\necho $$ >>{mark}\nsleep 600 & echo $! >>{mark}\nwait\n')
    bench.stack("hang", f"auth required pam_exec.so {hang}\naccount required pam_permit.so\n")
    with bench.asker("hang", timeout="1s") as asker:
        began = time.monotonic()
        expect(asker.password("hang", "x"), "unavailable", "", "in time")
        assert 0.9 < time.monotonic() - began < PATIENCE_S
        expect(asker.password("alice", "x"), "valid", "alice")
        gone_in_time(mark)
        answers = asker.many(8, "hang", "x")
        assert all(answer["verdict"] == "unavailable" for answer in answers), answers
        gone_in_time(mark)
        until(lambda: not asker.children(), "zombies stay")
    with bench.asker("hang", timeout="60s") as asker:
        asker.send("many", "2", "hang", "x")
        until(lambda: len(mark.read_text().split()) >= 22, "nothing hangs")
        role = asker.role
        asker.process.kill()  # the verifier dies: what it has asked for ends, too
        asker.process.wait()
        until(lambda: not alive(role), "the role stays")
        gone_in_time(mark)
        asker.process.stdin.close()
        raise_nothing(asker)


def raise_nothing(asker):
    """That asker was killed on purpose: let its context end without a look at its status."""
    asker.process = subprocess.Popen(["true"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(condition, what):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def gone_in_time(mark):
    until(lambda: not any(alive(int(pid)) for pid in mark.read_text().split()), "what a module has started stays")


@case
def a_module_that_crashes(bench):
    """It kills the process that it runs in."""
    crash = bench.script("crash", '[ "$PAM_USER" = crash ] && kill -ABRT $PPID\nexit 0\n')
    bench.stack("crash", f"auth required pam_exec.so {crash}\naccount required pam_permit.so\n")
    with bench.asker("crash") as asker:
        expect(asker.password("crash", "x"), "unavailable", "", "crashed")
        expect(asker.password("alice", "x"), "valid", "alice")
        until(lambda: not asker.children(), "zombies stay")


@case
def many_at_once(bench):
    """More than there are children: the rest waits, and everybody gets the answer that is his."""
    with bench.asker() as asker:
        answers = asker.many(100, "alice", PASSWORDS["alice"])
        assert all(answer["verdict"] == "valid" and answer["user"] == "alice" for answer in answers), answers
        answers = asker.many(40, "alice", "wrong")
        assert all(answer["verdict"] == "invalid" for answer in answers), answers


@case
def more_than_can_be_answered(bench):
    """Some are told in time that it was not their turn; afterwards all is as it was."""
    slow = bench.script("slow", '[ "$PAM_USER" = slow ] && sleep 600\nexit 0\n')
    bench.stack("slow", f"auth required pam_exec.so {slow}\naccount required pam_permit.so\n")
    with bench.asker("slow", timeout="2s") as asker:
        answers = asker.many(60, "slow", "x")
        verdicts = {answer["verdict"] for answer in answers}
        assert verdicts <= {"unavailable", "busy"} and "unavailable" in verdicts, verdicts
        until(lambda: not asker.children(), "zombies stay")
        expect(asker.password("alice", "x"), "valid", "alice")


@case
def the_role_dies(bench):
    mark = bench.folder / "sleepers"
    sleeps = bench.script("sleeps", f"echo $$ >>{mark}\nexec sleep 600\n")
    bench.stack("slow-too", f"auth required pam_exec.so {sleeps}\naccount required pam_permit.so\n")
    with bench.asker("slow-too", timeout="60s") as asker:
        asker.send("many", "4", "alice", "x")
        until(lambda: mark.exists() and len(mark.read_text().split()) == 4, "no children")
        children = asker.children()
        assert len(children) == 4, children
        os.kill(asker.role, signal.SIGKILL)
        for _ in range(4):
            expect(asker.answer(), "unavailable", "", "role pam")
        until(lambda: not any(alive(child) for child in children), "children outlive the role")
        expect(asker.password("alice", "x"), "unavailable", "", "role pam")
        asker.process.stdin.close()
        assert asker.process.wait(PATIENCE_S) != 0  # the role's status
        raise_nothing(asker)
    for pid in mark.read_text().split():  # in sessions of their own (pam_exec): nobody is left who would end them
        os.kill(int(pid), signal.SIGKILL)


# ---- pam_unix, for real: whose passwords may a role without root check? ----

UNIX = "auth required pam_unix.so\naccount required pam_unix.so\n"
# In a mount namespace of its own the system has users of ours.
NAMESPACE = """
mount --bind {folder}/passwd /etc/passwd && mount --bind {folder}/shadow /etc/shadow && mount --bind {folder}/group /etc/group &&
exec "$@"
"""


@case
def unix_passwords(bench):
    folder = bench.folder / "etc"
    folder.mkdir()
    hashed = {user: crypt.crypt(f"{user}-pw", crypt.mksalt(crypt.METHOD_SHA256)) for user in ("tested", "old", "locked", "nobodys")}
    passwd, shadow = pathlib.Path("/etc/passwd").read_text(), pathlib.Path("/etc/shadow").read_text()
    for number, user in enumerate(hashed):
        passwd += f"{user}:x:{64000 + number}:65534::/nonexistent:/bin/false\n"
    shadow += (f"tested:{hashed['tested']}:19000:0:99999:7:::\nold:{hashed['old']}:19000:0:99999:7::1:\n"
               f"locked:!{hashed['locked']}:19000:0:99999:7:::\nnobodys:{hashed['nobodys']}:19000:0:99999:7:::\n")
    (folder / "passwd").write_text(passwd)
    (folder / "shadow").write_text(shadow)
    (folder / "group").write_text(pathlib.Path("/etc/group").read_text())
    os.chown(folder / "shadow", 0, next(int(line.split(":")[2]) for line in (folder / "group").read_text().split()
                                        if line.startswith("shadow:")))
    (folder / "shadow").chmod(0o640)
    bench.stack("unix", UNIX)
    inside = ["unshare", "-m", "sh", "-c", NAMESPACE.format(folder=folder), "sh"]
    nobody = ["setpriv", "--reuid=64003", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
    open_up(bench)
    shadow_group = [*nobody[:3], "--groups=shadow", *nobody[4:]]
    for prefix in ([], shadow_group, [*shadow_group, "--no-new-privs"]):
        prefix = [*inside, *prefix]
        for asker in bench.both("unix", prefix=prefix):
            expect(asker.password("tested", "tested-pw"), "valid", "tested")
            expect(asker.password("tested", "wrong"), "invalid")
            expect(asker.password("old", "old-pw"), "invalid", "", "expired")
            expect(asker.password("locked", "locked-pw"), "invalid")
            expect(asker.password("nobody-of-that-name", "x"), "unknown-user")
    # Debian's unix_chkpwd (set-group-ID shadow) checks the password of who runs it, and of nobody else.
    for asker in bench.both("unix", prefix=[*inside, *nobody]):
        expect(asker.password("tested", "tested-pw"), "unavailable", "", "shadow")
        expect(asker.password("nobodys", "nobodys-pw"), "valid", "nobodys")
    for asker in bench.both("unix", prefix=[*inside, *nobody, "--no-new-privs"]):
        expect(asker.password("tested", "tested-pw"), "unavailable", "", "shadow")
        expect(asker.password("nobodys", "nobodys-pw"), "unavailable", "", "shadow")


def open_up(bench):
    """For another user than root: the folder, and the program."""
    for path in (bench.folder, bench.stacks):
        path.chmod(0o755)
    copy = bench.folder / "backend_try"
    shutil.copy(bench.program, copy)
    copy.chmod(0o755)
    bench.program = copy


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", default="build/asan/tests/backend_try", help="backend_try")
    parser.add_argument("case", nargs="*", help="parts of names of cases")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sallyport-pam-") as folder:
        bench = Bench(pathlib.Path(folder), pathlib.Path(options.program).resolve())
        passed, failed = rigs.run_cases(CASES, bench, options.case)
    print(f"pam: {passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
