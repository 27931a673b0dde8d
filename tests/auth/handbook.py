#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Walks the page conf/handbook/active-directory.md against a real domain: its configurations and its commands, with the
names of the test's domain in the place of those of the page. Ends with "handbook: N passed, M failed"."""
import argparse
import pathlib
import re
import shlex
import shutil
import sys

import yaml

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "rigs")]
import rigs  # noqa: E402
from auth_site import Origins, Proxy, environment, run, run_rows  # noqa: E402

PAGE = HERE.parents[1] / "conf/handbook/active-directory.md"
NAMES = [("dc=example,dc=com", "dc=ad,dc=test"), ("EXAMPLE.COM", "AD.TEST"), ("EXAMPLE", "ADTEST"), ("example.com", "ad.test"),
         ("svc-proxy", "svcproxy")]


def adapted(text):
    for page, ours in NAMES:
        text = text.replace(page, ours)
    return text


def steps():
    """For each section: its heading, its YAML, its commands of sallyport."""
    found = []
    for section in re.split(r"^## ", PAGE.read_text(), flags=re.M)[1:]:
        blocks = re.findall(r"^```(\w*)\n(.*?)^```", section, flags=re.M | re.S)
        documents = [yaml.safe_load(adapted(text)) for kind, text in blocks if kind == "yaml"]
        commands = [shlex.split(line, comments=True) for kind, text in blocks if not kind
                    for line in adapted(text).splitlines() if line.startswith("sallyport ")]
        found.append((section.splitlines()[0], documents, commands))
    return found


class Walk:
    def __init__(self, binary, samba):
        self.binary, self.samba, self.inside = binary, samba, samba.inside()
        self.env = environment(**samba.environment())
        self.origins = Origins(self.inside)
        self.authentication = None

    def proxy(self, policy="defaults: {access: allow, tls: bypass, auth: required, ports: [1-65535]}\n"):
        proxy = Proxy(self.binary, {"users": [], **self.authentication}, inside=self.inside, env=self.env, users={}, policy=policy,
                      files={"ldap.password": self.samba.passwords["svcproxy"] + "\n"}, prepare=self.put_files)
        return proxy

    def put_files(self, folder):
        shutil.copy(self.samba.keytab(), folder / "http.keytab")
        shutil.copy(self.samba.ldap_ca, folder / "domain-ca.pem")

    def command(self, proxy, words):
        status = {"check": None, "reload": 0, "explain": 0}.get(words[1], 0)
        text = None
        if words[1] == "auth":
            user = words[words.index("--user") + 1].split("\\")[-1]
            text = self.samba.passwords[user] + "\n"
        out = run([*self.inside, self.binary, *words[1:], "-c", proxy.config], status=status, text=text, env=self.env)
        if words[1] == "check":
            assert " 0 errors" in out or "is valid" in out, out
        if words[1] == "auth":
            assert re.search(r"^user      alice\b", out, re.M), out

    def curl(self, proxy, flags, host, status="200"):
        out = run([*self.inside, "curl", "-s", "-o", "/dev/null", "-w", "%{response_code}", "-x", f"http://localhost:{proxy.port}",
                   *flags, f"http://{host}:{self.origins.http}/a"], env=self.env)
        assert out == status, out
        return proxy.wait_lines(host, lambda lines: any(str(line["status"]) == status for line in lines))[-1]


FLAGS = {"negotiate": ["--proxy-negotiate", "-U", ":"], "ntlm": ["--proxy-ntlm", "-U", "ADTEST\\alice:{password}"],
         "basic": ["--proxy-basic", "-U", "alice:{password}"]}


def walk_scheme_step(walk, documents, commands):
    walk.authentication = documents[0]["authentication"]
    password = walk.samba.passwords["alice"]
    with walk.proxy() as proxy:
        for words in commands:
            walk.command(proxy, words)
        for number, scheme in enumerate(walk.authentication["schemes"]):
            line = walk.curl(proxy, [flag.format(password=password) for flag in FLAGS[scheme]], f"r{number}.origin.test")
            assert line["user"] == "alice" and line["scheme"] == scheme, line


def walk_policy_step(walk, documents, commands):
    password = walk.samba.passwords
    policy = yaml.safe_dump(documents[0]).replace("- 80\n", "- 1-65535\n")
    with walk.proxy(policy) as proxy:
        for words in commands:
            walk.command(proxy, words)
        assert walk.curl(proxy, ["--proxy-ntlm", "-U", f"alice:{password['alice']}"], "r10.origin.test")["user"] == "alice"
        line = walk.curl(proxy, ["--proxy-ntlm", "-U", f"bob:{password['bob']}"], "r11.origin.test", "403")
        assert line["user"] == "bob" and line["error"] == "policy_denied", line


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sallyport", default=str(HERE.parents[1] / "build/release/sallyport"))
    options = parser.parse_args()
    with rigs.Samba() as samba:
        samba.kinit("alice", samba.passwords["alice"])
        walk = Walk(pathlib.Path(options.sallyport).resolve(), samba)
        try:
            rows = []
            for heading, documents, commands in steps()[:4]:
                step = walk_policy_step if "rules" in documents[0] else walk_scheme_step
                rows.append((heading, lambda step=step, documents=documents, commands=commands: step(walk, documents, commands)))
            assert len(rows) == 4, rows
            status = run_rows("handbook", rows, at_once=1)
        finally:
            walk.origins.stop()
    sys.exit(status)


if __name__ == "__main__":
    main()
