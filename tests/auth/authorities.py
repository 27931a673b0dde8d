#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Authorities behind Basic through the real proxy: PAM in its own role, and what is slow or dead, which holds up nobody
else. Ends with "authorities: N passed, M failed"."""
import argparse
import base64
import concurrent.futures
import crypt  # noqa: W4901 - Debian 12's Python has it
import pathlib
import socket
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]
from auth_site import Proxy, run, run_rows, wait_for  # noqa: E402

BINARY = ""
PLUGINS = "/usr/lib/x86_64-linux-gnu/security"


def ask(port, user, password, host="r0.origin.test"):
    """The status of one request with Basic. Nothing listens at its port: 502 is who was let in."""
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    with socket.create_connection(("127.0.0.1", port), 60) as sock:
        sock.sendall(f"GET http://{host}:1/ HTTP/1.1\r\nHost: {host}:1\r\nProxy-Authorization: Basic {token}\r\n\r\n".encode())
        return int(sock.makefile("rb").readline().split()[1])


def hashed(password):
    return crypt.crypt(password, crypt.METHOD_SHA512)


def pam_proxy(stack, backends=("pam",), timeout="5s", **options):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sallyport-pam-"))
    folder.chmod(0o755)
    (folder / "passwords").write_text(f"alice:{hashed('alicepw')}\n")
    (folder / "test").write_text(stack.format(folder=folder))
    return Proxy(BINARY, {"schemes": ["basic"], "basic": {"backends": list(backends)}, "cache_time": "0",
                          "pam": {"service": "test", "folder": str(folder), "timeout": timeout}}, **options)


PWDFILE = "auth required pam_pwdfile.so pwdfile={folder}/passwords\naccount required pam_permit.so\n"


def pam_says_who_it_is():
    with pam_proxy(PWDFILE, users={}) as proxy:
        assert ask(proxy.port, "alice", "alicepw", "r1.origin.test") == 502
        assert ask(proxy.port, "alice", "wrong", "r2.origin.test") == 407
        assert ask(proxy.port, "nobody-of-that-name", "wrong", "r3.origin.test") == 407
        line = proxy.wait_lines("r1.origin.test", bool)[0]
        assert line["user"] == "alice" and line["scheme"] == "basic", line
        line = proxy.wait_lines("r2.origin.test", bool)[0]
        assert line["error"] == "auth_refused" and "user" not in line and line["reason"], line


def pam_after_the_user_file():
    """The next backend is asked where one does not know the user, and only there."""
    with pam_proxy(PWDFILE, ("users", "pam"), users={"bob": ("bobpw", [])}) as proxy:
        assert ask(proxy.port, "bob", "bobpw") == 502 and ask(proxy.port, "alice", "alicepw") == 502
        assert ask(proxy.port, "bob", "alicepw") == 407 and ask(proxy.port, "alice", "bobpw") == 407


def pam_account_that_has_ended():
    with pam_proxy("auth required pam_permit.so\naccount required pam_deny.so\n", users={}) as proxy:
        assert ask(proxy.port, "alice", "alicepw") == 407


def pam_without_its_module():
    with pam_proxy("auth required pam_no_such_module.so\naccount required pam_permit.so\n", users={}) as proxy:
        assert ask(proxy.port, "alice", "alicepw", "r1.origin.test") in (503, 407)
        assert proxy.wait_lines("r1.origin.test", bool)[0]["reason"]


def pam_unix_without_being_root():
    """A user of the system, whose password the role learns through unix_chkpwd: the role runs as nobody."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sallyport-unix-"))
    folder.chmod(0o755)
    for name in ("passwd", "shadow"):
        text = pathlib.Path("/etc", name).read_text()
        text += "sptest:x:4711:4711::/:/bin/false\n" if name == "passwd" else f"sptest:{hashed('unixpw')}:19000:0:99999:7:::\n"
        (folder / name).write_text(text)
    run(["chgrp", "shadow", folder / "shadow"])
    (folder / "shadow").chmod(0o640)
    inside = ["unshare", "-m", "sh", "-c", f"mount --bind {folder}/passwd /etc/passwd && mount --bind {folder}/shadow /etc/shadow && "
              'exec "$0" "$@"']
    with pam_proxy("auth required pam_unix.so\naccount required pam_unix.so\n", users={}, inside=inside) as proxy:
        assert ask(proxy.port, "sptest", "unixpw", "r1.origin.test") == 502, [line.get("reason") for line in proxy.lines()]
        assert ask(proxy.port, "sptest", "wrong", "r2.origin.test") == 407, [line.get("reason") for line in proxy.lines()]


def holds_up_nobody(proxy, slow_user, status):
    """Many ask the slow authority; somebody of the user file is let in meanwhile, before any of them has its answer."""
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        slow = [pool.submit(ask, proxy.port, slow_user, f"password{i}", f"r{100 + i}.origin.test") for i in range(20)]
        wait_for("questions", lambda: len([one for one in slow if one.running()]) == 20)
        assert ask(proxy.port, "bob", "bobpw") == 502
        assert ask(proxy.port, "bob", "wrong") == 407
        assert not any(one.done() for one in slow), "the slow ones were not slow"
        got = {one.result() for one in slow}
        assert got == {status}, got
    assert ask(proxy.port, "bob", "bobpw") == 502


def a_slow_stack_holds_up_nobody():
    with tempfile.NamedTemporaryFile("w", suffix=".sh", delete=False) as script:
        script.write("#!/bin/sh\nexec sleep 1007.5\n")
    pathlib.Path(script.name).chmod(0o755)
    stack = f"auth required pam_exec.so quiet {script.name}\naccount required pam_permit.so\n"
    with pam_proxy(stack, ("users", "pam"), "3s", users={"bob": ("bobpw", [])}) as proxy:
        holds_up_nobody(proxy, "alice", 503)
        line = proxy.wait_lines("r100.origin.test", bool)[0]
        assert line["error"] == "auth_unavailable" and "time" in line["reason"], line
        assert not run(["pgrep", "-f", "sleep 1007.5"], status=None).strip(), "what a stack has started goes with it"


def a_silent_directory_holds_up_nobody():
    listener, taken = socket.create_server(("127.0.0.1", 0)), []
    threading.Thread(target=lambda: [taken.append(listener.accept()) for _ in range(1000)], daemon=True).start()
    server = f"ldap://127.0.0.1:{listener.getsockname()[1]}"
    with Proxy(BINARY, {"schemes": ["basic"], "basic": {"backends": ["users", "ldap"]}, "cache_time": "0", "threads": 20,
                        "ldap": {"servers": [server], "template": "{user}@test", "timeout": "2s"}},
               users={"bob": ("bobpw", [])}) as proxy:
        holds_up_nobody(proxy, "alice", 503)
        line = proxy.wait_lines("r100.origin.test", bool)[0]
        assert line["error"] == "auth_unavailable" and line["reason"], line


def a_dead_directory_is_told():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        with Proxy(BINARY, {"schemes": ["basic"], "basic": {"backends": ["ldap"]},
                            "ldap": {"servers": [f"ldap://127.0.0.1:{port}"], "template": "{user}@test"}}, users={}) as proxy:
            assert ask(proxy.port, "alice", "alicepw", "r1.origin.test") == 503
            line = proxy.wait_lines("r1.origin.test", bool)[0]
            assert "127.0.0.1" in line["reason"], line


ROWS = [pam_says_who_it_is, pam_after_the_user_file, pam_account_that_has_ended, pam_without_its_module,
        pam_unix_without_being_root, a_slow_stack_holds_up_nobody, a_silent_directory_holds_up_nobody, a_dead_directory_is_told]


def main():
    global BINARY
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sallyport", default=str(HERE.parents[1] / "build/release/sallyport"))
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    BINARY = pathlib.Path(options.sallyport).resolve()
    sys.exit(run_rows("authorities", [(function.__name__, function) for function in ROWS], options.only))


if __name__ == "__main__":
    main()
