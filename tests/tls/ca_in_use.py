#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The inspection CA while sessions are opened: its end, its change, its key, and other secrets. Ends with "cainuse: N passed,
M failed"."""
import contextlib
import pathlib
import stat
import sys
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]
import certificates as c  # noqa: E402
from tls_site import Session, context_of, environment, main, row, wait_for  # noqa: E402


def prepare(site):
    site.begin(workers=1)


@row
def a_leaf_lives_no_longer_than_its_ca(site):
    short = c.root("Ends tomorrow", days=(-9, 1), pathlen=0)
    with Session(site, site.at(), proxy=site.inspector(workers=1, prepare=lambda folder: bring(folder, short))) as session:
        assert session.leaf.not_valid_after <= short.certificate.not_valid_after
        assert session.ask("GET", "/echo").status == 200


def bring(folder, made):
    (folder / "ca").mkdir(exist_ok=True)
    made.write(folder / "ca", "ca")
    (folder / "ca/ca.key").chmod(0o600)


@row
def a_ca_is_changed_by_reload_without_a_failed_handshake(site):
    """Clients that trust both; sessions all the while. Afterwards the new one signs, and tickets of before are no good."""
    first, second = c.root("First", pathlen=0), c.root("Second", pathlen=0)
    proxy = site.inspector(prepare=lambda folder: bring(folder, first))
    file, done, trouble, issuers = site.folder / "first-and-second.pem", threading.Event(), [], set()
    file.write_text(first.pem + second.pem)
    context, hosts = context_of(file), [site.host() for _ in range(6)]

    def load(number):
        while not done.is_set():
            try:
                with Session(site, site.at(hosts[number]), proxy=proxy, context=context) as session:
                    issuers.add(session.leaf.issuer)
                    assert session.ask("GET", "/echo").status == 200
            except Exception as error:  # noqa: B902
                trouble.append(repr(error))
    threads = [threading.Thread(target=load, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        while len(issuers) < 1 and not trouble:
            done.wait(0.05)
        bring(proxy.folder, second)
        proxy.command("reload")
        with Session(site, site.at(hosts[5]), proxy=proxy, context=context) as session:
            assert session.leaf.issuer == second.certificate.subject
        done.wait(1)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not trouble, trouble[:3]
    assert issuers == {first.certificate.subject, second.certificate.subject}
    with Session(site, site.at(hosts[0]), proxy=proxy, context=context) as session:
        assert session.leaf.issuer == second.certificate.subject


@row
def a_broken_ca_at_reload_changes_nothing(site):
    first = c.root("Good", pathlen=0)
    proxy = site.inspector(workers=1, prepare=lambda folder: bring(folder, first))
    (proxy.folder / "ca/ca.pem").write_text("garbage\n")
    out = proxy.command("reload", status=None)
    assert "ca.pem" in out, out
    (site.folder / "good.pem").write_text(first.pem)
    with Session(site, site.at(), proxy=proxy, context=context_of(site.folder / "good.pem")) as session:
        assert session.ask("GET", "/echo").status == 200


@row
def the_key_of_the_ca_is_in_the_signer_alone(site):
    """In the memory of no worker, and of no other role that strangers talk to."""
    x = c.serialization.load_pem_private_key(site.proxy.x_key.encode(), None)
    secret = x.private_numbers().private_value.to_bytes(32, "big")
    assert site.get().status == 200
    forms = (secret, secret[::-1])
    for role in ("worker", "logger", "admin", "public", "verifier"):
        for pid in site.proxy.pids(role):
            assert not any(form in memory for memory in memory_of(pid) for form in forms), f"{role} {pid} has it"
    assert any(form in memory for pid in site.proxy.pids("signer") for memory in memory_of(pid) for form in forms), "the search finds it"


def memory_of(pid):
    """All that can be read, part by part."""
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights = line.split()[:2]
            begin, end = (int(part, 16) for part in span.split("-"))
            if rights.startswith("rw") and end - begin < 1 << 28:
                with contextlib.suppress(OSError, ValueError, OverflowError):
                    memory.seek(begin)
                    yield memory.read(end - begin)


@row
def secrets_of_sessions_are_written_nowhere_unless_told(site):
    """SSLKEYLOGFILE in the environment is not heard."""
    file = site.folder / "keys.log"
    proxy = site.inspector(workers=1, env=environment(SSLKEYLOGFILE=str(file)))
    with Session(site, site.at(), proxy=proxy) as session:
        assert session.ask("GET", "/echo").status == 200
    assert not file.exists()


@row
def secrets_of_sessions_are_written_where_told_with_a_warning(site):
    proxy = site.inspector(workers=1, inspection={"secrets": "keys.log"})
    with Session(site, site.at(), proxy=proxy) as session:
        assert session.ask("GET", "/echo").status == 200
    text = wait_for("the secrets", lambda: (proxy.folder / "keys.log").exists() and (proxy.folder / "keys.log").read_text())
    assert "CLIENT_TRAFFIC_SECRET_0" in text, text[:100]
    assert stat.S_IMODE((proxy.folder / "keys.log").stat().st_mode) & 0o077 == 0
    assert "secrets" in proxy.events() or "keys.log" in proxy.events(), proxy.events()


if __name__ == "__main__":
    main("cainuse", prepare)
