# SPDX-License-Identifier: Apache-2.0
"""Authorities for tests: a real MIT KDC (Kdc) and a real Active Directory with a joined machine (Samba). Each lives in a
private folder and ends with stop(), with the `with` block, or when the test dies, whichever is first."""
import os
import pathlib
import shlex
import shutil
import socket
import subprocess
import tempfile
import traceback

HERE = pathlib.Path(__file__).resolve().parent


def free_port():
    """A port of 127.0.0.1 that nobody has, by TCP and UDP."""
    while True:
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as packets:
            stream.bind(("127.0.0.1", 0))
            port = stream.getsockname()[1]
            try:
                packets.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Rig:
    """A folder, what begins in it, and somebody who ends it even if this process cannot."""

    def __init__(self, name):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"sallyport-{name}-"))
        self.folder.chmod(0o711)  # a proxy that is not root any more reads krb5.conf, and reaches winbindd's pipe
        self.guard = None

    def begin(self, command, end):
        """`end` runs when stop() is called, or when this process is gone: its end of the pipe closes then."""
        self.guard = subprocess.Popen(["sh", "-c", f"cat >/dev/null; {end}"], stdin=subprocess.PIPE, start_new_session=True,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        said = self.folder / "begin.out"  # no pipe: what stays may hold it open
        with open(said, "wb") as file:
            status = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                                    check=False).returncode
        if status:
            text = said.read_text()
            self.stop()
            raise RuntimeError(f"{command[0]}: status {status}: {text}")

    def stop(self):
        if self.guard:
            self.guard.stdin.close()
            self.guard.wait()
            self.guard = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_):
        self.stop()

    def inside(self):
        """What to put before a command that must reach this authority."""
        return []

    def environment(self, cache="ccache"):
        """For clients: whose tickets lie in the file `cache` of the folder. No plug-ins of GSSAPI."""
        return {**os.environ, "LC_ALL": "C.UTF-8", "KRB5_CONFIG": str(self.folder / "krb5.conf"),
                "KRB5CCNAME": f"FILE:{self.folder / cache}", "GSS_MECH_CONFIG": "/dev/null"}

    def run(self, command, cache="ccache", text=None, outside=False, **environment):
        """Run to its end; its output, both together. Raises where it fails. outside: where it cannot reach the authority."""
        before = [] if outside else self.inside()
        done = subprocess.run(before + [str(word) for word in command], input=text, text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              env={**self.environment(cache), **environment})
        if done.returncode:
            raise RuntimeError(f"{' '.join(map(str, command))}: {done.stdout}")
        return done.stdout

    def kinit(self, user, password, cache="ccache", *options):
        """Tickets for the user, in `cache`."""
        self.run(["kinit", *options, user], cache, text=password + "\n")


class Kdc(Rig):
    """MIT's KDC. Users and keytabs: see kdc-up.sh."""
    realm = "PROXY.TEST"
    passwords = {"alice": "alicepw", "jürgen": "jürgenpw", "brief": "briefpw"}

    def __init__(self):
        super().__init__("kdc")
        self.port = None

    def start(self):
        folder = shlex.quote(str(self.folder))
        self.port = free_port()
        self.begin([HERE / "kdc-up.sh", self.folder, self.port],
                   f'kill "$(cat {folder}/kdc.pid)"; rm -rf {folder}')
        return self

    def keytab(self, name="http"):
        return self.folder / f"{name}.keytab"

    def admin(self, *commands):
        """Commands of kadmin.local."""
        return self.run(["kadmin.local", "-r", self.realm], text="\n".join(commands) + "\n",
                        KRB5_KDC_PROFILE=str(self.folder / "kdc.conf"), PATH=os.environ["PATH"] + ":/usr/sbin")

    def rotate(self, service="HTTP/localhost", keytab="http"):
        """A new key of the service, beside the old ones in the keytab."""
        self.admin(f"ktadd -k {self.keytab(keytab)} {service}")

    def set_password(self, user, password):
        self.admin(f"cpw -pw {password} {user}")


class Samba(Rig):
    """Samba's domain controller, and winbindd of a machine that has joined. Root only. Users: see ad-up.sh."""
    realm = "AD.TEST"
    domain = "ADTEST"
    machine = "PROXY1"
    passwords = {"alice": "Al1ce-Passw0rd", "bob": "B0b-Passw0rd", "jürgen": "Jürgen-Passw0rd", "svcproxy": "Svc-Passw0rd2",
                 "disabled": "Us3r-Passw0rd", "expired": "Us3r-Passw0rd", "locked": "Us3r-Passw0rd", "carol": "Us3r-Passw0rd",
                 "carlos": "Us3r-Passw0rd"}
    ldap_server = "ldaps://dc1.ad.test"

    def __init__(self):
        super().__init__("ad")

    def start(self):
        folder = shlex.quote(str(self.folder))
        self.begin([HERE / "ad-up.sh", self.folder], f"{shlex.quote(str(HERE / 'ad-down.sh'))} {folder}")
        return self

    def keytab(self, name="http"):
        return self.folder / f"{name}.keytab"

    @property
    def ldap_ca(self):
        return self.folder / "ca.pem"

    def inside(self):
        """In the network and the mounts of the joined machine."""
        return ["nsenter", "-t", (self.folder / "member.pid").read_text().strip(), "-n", "-m"]


def run_cases(cases, bench, wanted):
    """Each case with the bench; one line for each. How many passed and failed. wanted: parts of names; none: all."""
    passed = failed = 0
    for function in cases:
        name = function.__name__
        if wanted and not any(word in name for word in wanted):
            continue
        try:
            function(bench)
        except Exception:  # pylint: disable=broad-except
            failed += 1
            print(f"FAIL {name}\n{traceback.format_exc()}", flush=True)
        else:
            passed += 1
            print(f"ok {name}", flush=True)
    return passed, failed
