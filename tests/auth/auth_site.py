# SPDX-License-Identifier: Apache-2.0
"""What the tests of authentication share: real origins (nginx), the proxy in a folder of its own, and how tests run."""
import concurrent.futures
import contextlib
import itertools
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback

import yaml

PATIENCE_S = 60.0
ROOT = pathlib.Path(__file__).resolve().parents[2]
REALM = "Corporate egress"
NAMES = 600  # r0.origin.test .. : a row finds its lines in the log by its name
USERS = {"alice": ("alicepw", ["staff", "it"]), "jürgen": ("jürgenpw", ["staff"])}
POLICY = "defaults: {access: allow, tls: bypass, auth: required, ports: [1-65535]}\n"


def run(words, status=0, text=None, **options):
    """Run to the end; both outputs together. `status` None: any."""
    done = subprocess.run([str(word) for word in words], input=text, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=PATIENCE_S, check=False, **options)
    assert status is None or done.returncode == status, f"{words}: status {done.returncode}\n{done.stdout[-3000:]}"
    return done.stdout


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def wait_for(what, check):
    limit = time.monotonic() + PATIENCE_S
    while time.monotonic() < limit:
        got = check()
        if got:
            return got
        time.sleep(0.02)
    raise AssertionError(f"in vain: {what}")


class Origins:
    """nginx for http and https, with a CA of its own, in `inside` (the namespaces of a rig)."""

    def __init__(self, inside=()):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sallyport-origins-"))
        self.folder.chmod(0o755)
        self.http, self.https = free_port(), free_port()
        self.make_certificates()
        pages = self.folder / "pages"
        pages.mkdir()
        for name in ("a", "b", "c"):
            (pages / name).write_text(f"hello {name}\n")
        run(["git", "init", "-q", "--bare", pages / "repo.git"])
        run(["git", "-C", pages / "repo.git", "update-server-info"])
        (self.folder / "nginx.conf").write_text(self.config())
        self.process = subprocess.Popen([*inside, "nginx", "-p", str(self.folder), "-c", str(self.folder / "nginx.conf"),
                                         "-g", "daemon off;"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("nginx", lambda: run([*inside, "curl", "-s", f"http://127.0.0.1:{self.http}/a"], status=None))

    def make_certificates(self):
        ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        f = self.folder
        run(["openssl", "req", "-x509", *ec, "-days", "2", "-subj", "/CN=Test CA", "-keyout", f / "ca.key", "-out", f / "ca.pem"])
        run(["openssl", "req", *ec, "-subj", "/CN=origin.test", "-keyout", f / "site.key", "-out", f / "site.csr"])
        (f / "names").write_text("subjectAltName=DNS:*.origin.test\n")
        run(["openssl", "x509", "-req", "-in", f / "site.csr", "-CA", f / "ca.pem", "-CAkey", f / "ca.key", "-days", "2",
             "-extfile", f / "names", "-out", f / "site.pem"])

    def config(self):
        temp = "".join(f"{kind}_temp_path {self.folder}/{kind};\n" for kind in
                       ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        # It answers a POST when it has the whole body, as it gives it on; `return` alone would answer the head.
        said = f"unix:{self.folder}/said"
        server = f"""root pages; client_max_body_size 10m; location / {{ }}
            location = /post {{ proxy_pass http://{said}; }}"""
        return f"""error_log error.log; pid nginx.pid; events {{ }} http {{ {temp}
            log_format seen '$request "$http_proxy_authorization" "$http_authorization"'; access_log seen.log seen;
            server {{ listen {said}; access_log off; return 200 "posted $content_length\\n"; }}
            server {{ listen 127.0.0.1:{self.http}; {server} }}
            server {{ listen 127.0.0.1:{self.https} ssl; ssl_certificate site.pem; ssl_certificate_key site.key; {server} }} }}"""

    def leaked(self):
        """Lines of requests that came with credentials of the proxy."""
        log = self.folder / "seen.log"
        return [line for line in log.read_text().splitlines() if '"-" "-"' not in line]

    def stop(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Proxy:
    """A running one. `auth` is merged into `authentication`; `inside` and `env` are where and how it runs."""

    def __init__(self, binary, auth, policy=POLICY, inside=(), env=None, users=None, files=None, workers=1, more=None,
                 listen=None, user_file=None, prepare=None):
        self.binary, self.inside, self.env = binary, list(inside), env
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sallyport-auth-"))
        self.folder.chmod(0o755)
        self.config = self.folder / "sallyport.yaml"
        settings = {
            "listen": listen or [{"name": "main", "address": "127.0.0.1:0"}], "workers": workers, "policy": "policy.yaml",
            "control": "run/sallyport.sock", "destinations": {"permit": ["127.0.0.0/8"]},
            "dns": {"hosts": {f"r{i}.origin.test": "127.0.0.1" for i in range(NAMES)}},
            "authentication": {"realm": REALM, "users": "users", **auth},
            "log": {"access": {"path": "access.log"}, "events": {"path": "events.log"}}, **(more or {})}
        self.config.write_text(yaml.safe_dump(settings, sort_keys=False))
        for name, text in {"policy.yaml": policy, **(files or {})}.items():
            (self.folder / name).write_text(text)
        if prepare:
            prepare(self.folder)
        if user_file is not None:
            (self.folder / "users").write_text(user_file)
        for name, (password, groups) in (USERS if users is None else users).items():
            self.command("user", "add", name, *[word for group in groups for word in ("--group", group)], text=password + "\n")
        self.process = subprocess.Popen([*self.inside, str(binary), "run", "-c", str(self.config)], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, env=env)
        ready = self.process.stdout.readline()
        if not ready.startswith("ready "):
            self.process.kill()
            raise AssertionError(self.process.stderr.read())
        self.ports = {name: int(port) for name, port in re.findall(r"(\w+)=127\.0\.0\.1:(\d+)", ready)}
        self.port = next(iter(self.ports.values()))

    def command(self, *words, status=0, text=None):
        return run([*self.inside, self.binary, words[0], *([words[1]] if words[0] in ("user", "auth") else []), "-c", self.config,
                    *words[2 if words[0] in ("user", "auth") else 1:]], status=status, text=text, env=self.env)

    def lines(self, host=None):
        with contextlib.suppress(FileNotFoundError):
            whole = (self.folder / "access.log").read_text().rpartition("\n")[0]  # the last one may be on its way
            lines = [json.loads(line) for line in whole.splitlines()]
            return [line for line in lines if host is None or line.get("host") == host]
        return []

    def wait_lines(self, host, check):
        """The lines of this host, once they are as `check` wants them: they come after the client has ended."""
        return wait_for(f"lines of {host}", lambda: (lambda lines: lines if check(lines) else None)(self.lines(host)))

    def events(self):
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "events.log").read_text()
        return ""

    def pids(self, role):
        """Of the processes of a role, as the parent says."""
        status = json.loads(self.command("status", "--json"))
        return [one["pid"] for one in status["roles"] if one["role"] == role]

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
        events = self.events() + self.process.stderr.read()
        bad = [line for line in events.splitlines() if re.search(r"role_died|surprise|Sanitizer|runtime error|role_message", line)]
        shutil.rmtree(self.folder, ignore_errors=True)
        assert not bad, bad
        assert self.process.returncode == 0, self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def run_rows(title, rows, only="", at_once=2, last=()):
    """rows: (name, function); `last` run when the others have ended. Prints a line for each, and the sum; the result is the
    exit status."""
    passed = failed = 0
    rows = [(name, function) for name, function in rows if re.search(only, name)]

    def one(row):
        try:
            row[1]()
            return row[0], None
        except Exception:  # whatever it is, it is told
            return row[0], traceback.format_exc()
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        for name, trouble in itertools.chain(pool.map(one, rows), map(one, last)):
            print(f"{'FAIL' if trouble else 'ok'} {name}", flush=True)
            if trouble:
                print("    " + trouble.replace("\n", "\n    "))
            passed, failed = passed + (not trouble), failed + bool(trouble)
    print(f"{title}: {passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


def environment(**changes):
    env = {**os.environ, "LC_ALL": "C.UTF-8", **changes}
    return {name: value for name, value in env.items()
            if value is not None and not name.lower().endswith("_proxy") and name not in ("SSL_CERT_FILE", "CURL_CA_BUNDLE")}


if __name__ == "__main__":
    sys.exit("this is no program")
