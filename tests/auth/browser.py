# SPDX-License-Identifier: Apache-2.0
"""Chromium without a window, by its debugging pipe: opens a page through a proxy, and answers when it is asked who it is."""
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

PROGRAM = "chromium-headless-shell"
PATIENCE_S = 40.0


class Browser:
    def __init__(self, proxy_url, inside=(), env=None, flags=(), verifies=False):
        self.folder = tempfile.mkdtemp(prefix="sallyport-chromium-")
        to_read, to_browser = os.pipe()
        from_browser, to_write = os.pipe()
        ends = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (to_read, to_write)]
        command = [*inside, PROGRAM, "--remote-debugging-pipe", "--no-sandbox", "--disable-background-networking",
                   "--disable-component-update", *([] if verifies else ["--ignore-certificate-errors"]), "--proxy-bypass-list=<-loopback>",
                   f"--proxy-server={proxy_url}", f"--user-data-dir={self.folder}", *flags, "about:blank"]
        # It reads from descriptor 3 and writes to 4, which are another thread's here.
        self.process = subprocess.Popen(["bash", "-c", f'exec "$@" 3<&{ends[0]} 4>&{ends[1]}', "bash", *command], pass_fds=ends, env=env,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for fd in (to_read, to_write, *ends):
            os.close(fd)
        self.up, self.down, self.bytes, self.id = to_browser, from_browser, b"", 0
        self.session, self.credentials, self.asked, self.failed = None, None, 0, None

    def send(self, method, **params):
        self.id += 1
        message = {"id": self.id, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.up, json.dumps(message).encode() + b"\0")
        return self.id

    def receive(self, limit):
        while b"\0" not in self.bytes:
            left = limit - time.monotonic()
            assert left > 0 and select.select([self.down], [], [], left)[0], "the browser is silent"
            data = os.read(self.down, 1 << 16)
            assert data, "the browser has gone"
            self.bytes += data
        text, self.bytes = self.bytes.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, **params):
        """The result; what happens meanwhile is answered."""
        limit, number = time.monotonic() + PATIENCE_S, self.send(method, **params)
        while True:
            message = self.receive(limit)
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self.on_event(message)

    def on_event(self, message):
        name, params = message.get("method"), message.get("params", {})
        if name == "Fetch.requestPaused":
            self.send("Fetch.continueRequest", requestId=params["requestId"])
        elif name == "Fetch.authRequired":
            self.asked += 1
            answer = {"response": "CancelAuth"}
            if self.credentials and self.asked == 1:
                answer = {"response": "ProvideCredentials", "username": self.credentials[0], "password": self.credentials[1]}
            self.send("Fetch.continueWithAuth", requestId=params["requestId"], authChallengeResponse=answer)
        elif name == "Page.loadEventFired":
            self.loaded = True

    def open(self, url, credentials=None):
        """The page's text, and how often it was asked who it is."""
        self.credentials = credentials
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")
        self.call("Fetch.enable", handleAuthRequests=True)
        self.loaded = False
        self.failed = self.call("Page.navigate", url=url).get("errorText")
        limit = time.monotonic() + PATIENCE_S
        while not self.loaded:
            self.on_event(self.receive(limit))
        return self.text(), self.asked

    def text(self):
        return self.call("Runtime.evaluate", expression="document.body.innerText")["result"].get("value", "")

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.up)
        os.close(self.down)
        shutil.rmtree(self.folder, ignore_errors=True)
