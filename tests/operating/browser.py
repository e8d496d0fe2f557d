"""Clicks through the pages in Chromium, over its debugging pipe, and says what is wrong with them.

usage: browser.py URL NAME PASSWORD MESSAGE DELIVERY [AXE.js [FOLDER FOR PICTURES]]

Prints one line for each finding; exit code 1 if there is any.
"""
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

URL, NAME, PASSWORD, MESSAGE, DELIVERY = sys.argv[1:6]
AXE = sys.argv[6] if len(sys.argv) > 6 and sys.argv[6] else None
PICTURES = sys.argv[7] if len(sys.argv) > 7 else None
PATIENCE = 60
findings = []


class Browser:
    def __init__(self, profile):
        to_browser, self.out = os.pipe()
        self.back, from_browser = os.pipe()
        # The browser reads from descriptor 3 and writes to 4.
        command = ["/bin/sh", "-c", f'exec 3<&{to_browser} 4>&{from_browser}; exec "$0" "$@"', "chromium",
                   "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                   "--remote-debugging-pipe", f"--user-data-dir={profile}"]
        self.process = subprocess.Popen(command, pass_fds=(to_browser, from_browser), stderr=subprocess.DEVNULL)
        os.close(to_browser)
        os.close(from_browser)
        self.buffer, self.number, self.session, self.where = b"", 0, None, ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")

    def message(self):
        while b"\0" not in self.buffer:
            piece = os.read(self.back, 1 << 16)
            if not piece:
                raise RuntimeError("the browser is gone")
            self.buffer += piece
        one, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(one)

    def heard(self, message):
        method, values = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            findings.append(f"{self.where}: {values['exceptionDetails'].get('exception', {}).get('description')}")
        elif method == "Runtime.consoleAPICalled" and values["type"] in ("error", "warning"):
            findings.append(f"{self.where}: console: {values['args']}")
        elif method == "Log.entryAdded" and values["entry"]["level"] in ("error", "warning"):
            findings.append(f"{self.where}: {values['entry']['text']} {values['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            asked = values["request"]["url"]
            if not asked.startswith((URL, "data:", "about:")):
                findings.append(f"{self.where}: it asks for {asked}")

    def call(self, method, **values):
        self.number += 1
        asked = {"id": self.number, "method": method, "params": values}
        if self.session:
            asked["sessionId"] = self.session
        os.write(self.out, json.dumps(asked).encode() + b"\0")
        while True:
            message = self.message()
            if message.get("id") == self.number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self.heard(message)

    def run(self, script):
        done = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in done:
            raise RuntimeError(f"{script[:80]}: {done['exceptionDetails']}")
        return done["result"].get("value")

    def until(self, what, script):
        start = time.monotonic()
        while time.monotonic() - start < PATIENCE:
            try:
                found = self.run(f"!!({script})")
            except RuntimeError:
                found = None  # the page is just being left
            if found:
                return found
            time.sleep(0.02)
        raise RuntimeError(f"waited in vain: {what}\n" + self.run("document.body.innerText"))

    def go(self, path):
        self.where = path
        self.run("window.old = true")
        self.call("Page.navigate", url=URL + path)
        self.loaded()

    def loaded(self):
        self.until("the page", "!window.old && document.readyState === 'complete'")

    def click(self, selector):
        self.run(f"window.old = true; document.querySelector({json.dumps(selector)}).click()")
        self.loaded()

    def type(self, selector, text):
        self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        for letter in text:
            self.call("Input.insertText", text=letter)

    def key(self, key):
        code = {"Tab": 9, "Enter": 13}[key]
        for kind in ("rawKeyDown", "keyUp"):
            values = {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}
            if key == "Enter" and kind == "rawKeyDown":
                values.update(type="keyDown", text="\r")
            self.call("Input.dispatchKeyEvent", **values)

    def picture(self, name):
        if PICTURES:
            data = self.call("Page.captureScreenshot", format="png")["data"]
            with open(os.path.join(PICTURES, name + ".png"), "wb") as file:
                file.write(base64.b64decode(data))


# What can be seen of accessibility without a library: contrast (WCAG 2.1 AA), names, order, room.
LOOK = r"""(() => {
  const wrong = [];
  const name = e => e.tagName.toLowerCase() + (e.className && e.className.baseVal === undefined ? "." + e.className : "");
  if (document.documentElement.scrollWidth > innerWidth + 1) wrong.push("wider than the window");
  if (document.querySelectorAll("h1").length !== 1) wrong.push("not one h1");
  for (const landmark of ["header", "nav", "main"]) if (!document.querySelector(landmark)) wrong.push("no " + landmark);
  let level = 1;
  for (const h of document.querySelectorAll("h1,h2,h3,h4")) {
    if (+h.tagName[1] > level + 1) wrong.push("a heading is left out before " + h.textContent);
    level = +h.tagName[1];
  }
  const ids = [...document.querySelectorAll("[id]")].map(e => e.id);
  if (new Set(ids).size !== ids.length) wrong.push("an id stands twice");
  for (const e of document.querySelectorAll("input:not([type=hidden])")) if (!e.labels.length) wrong.push("no label: " + name(e));
  for (const e of document.querySelectorAll("a,button")) if (!(e.ariaLabel || e.textContent).trim()) wrong.push("no name: " + name(e));
  for (const e of document.querySelectorAll("table")) if (!e.caption) wrong.push("a table without a caption");
  const numbers = c => c.match(/[\d.]+/g).map(Number);
  const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b; };
  const ground = e => { for (; e; e = e.parentElement) { const c = numbers(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c.slice(0, 3); } return [255, 255, 255]; };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !e.getClientRects().length || ["SCRIPT", "STYLE"].includes(e.tagName)) continue;
    const a = light(numbers(getComputedStyle(e).color).slice(0, 3)), b = light(ground(e));
    const contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (contrast < 4.5) wrong.push("contrast " + contrast.toFixed(2) + ": " + name(e) + " " + walker.currentNode.textContent.trim().slice(0, 30));
  }
  return wrong;
})()"""


def look(browser, scheme, width):
    paths = ["/", "/search?q=largest+planet", "/now", "/queue?all=1", f"/queue/{DELIVERY}", "/peers", "/asides",
             "/asides/1", "/mailboxes", f"/m/{MESSAGE}", "/peer?address=mailto%3Acmr%40peer.test", "/login"]
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600)
    for path in paths:
        browser.go(path)
        browser.where = f"{path} ({scheme}, {width})"
        findings.extend(f"{browser.where}: {wrong}" for wrong in browser.run(LOOK))
        if AXE:
            with open(AXE, encoding="utf-8") as file:
                browser.run(file.read() + "; true")
            for wrong in json.loads(browser.run("axe.run().then(r => JSON.stringify(r.violations))")):
                places = [node["html"][:120] for node in wrong["nodes"]]
                findings.append(f"{browser.where}: axe: {wrong['id']}: {wrong['help']}: {places}")
        picture = path.strip("/").split("?")[0].replace("/", "-") or "start"
        browser.picture(f"{picture}-{scheme}-{width}")


def use(browser):
    # Results while one types, and an address that can be kept.
    browser.go("/")
    browser.type("#q", "largest planet")
    browser.until("marks", "document.querySelector('#part mark')")
    browser.until("the address", "location.search === '?q=largest+planet'")
    browser.click("#part li a")
    browser.until("the message", "document.querySelector('pre.body')")
    # By keyboard: the first stop leads past the navigation.
    browser.go("/queue")
    browser.key("Tab")
    browser.until("the way past", "document.activeElement.className === 'skip'")
    browser.key("Enter")
    browser.until("the content", "document.activeElement.id === 'main'")
    # Nothing can be changed without a login.
    if browser.run("document.querySelectorAll('main button').length"):
        findings.append("/queue: buttons without a login")
    browser.go("/login")
    browser.type("#name", NAME)
    browser.type("#password", PASSWORD)
    browser.key("Enter")
    browser.until("who is logged in", f"document.querySelector('.who')?.textContent.includes({json.dumps(NAME)})")
    for action, state in (("hold", "held"), ("release", "ready"), ("hold", "held"), ("drop", None)):
        browser.go("/queue")
        browser.click(f"button[formaction='/queue/{DELIVERY}/{action}']")
        browser.until(f"{action}: done", "document.querySelector('[role=status]')")
        if state:
            shown = f"[...document.querySelectorAll('tr')].find(r => r.querySelector('a[href=\"/queue/{DELIVERY}\"]'))"
            browser.until(f"{action}: {state}", f"{shown}.querySelector('.state').textContent !== ''")
            if state == "held":
                browser.until("it is held", f"{shown}.querySelector('.state').textContent === 'held'")
    browser.go("/queue?all=1")
    browser.until("it is given up", "document.querySelector('.state.failed')")
    browser.picture("queue-logged-in")
    # Figures that stay fresh, and can be stopped.
    browser.go("/now")
    before = browser.run("document.querySelector('time').textContent")
    browser.until("newer figures", f"document.querySelector('time').textContent !== {json.dumps(before)}")
    browser.run("document.querySelector('#pause').click()")
    browser.click(".who button")
    browser.until("logged out", "document.querySelector('.who a')")


def main():
    profile = tempfile.mkdtemp(prefix="cmr-browser-")
    browser = Browser(profile)
    try:
        for scheme in ("light", "dark"):
            for width in (1200, 390):
                look(browser, scheme, width)
        browser.call("Emulation.clearDeviceMetricsOverride")
        use(browser)
    except RuntimeError as error:
        findings.append(f"{browser.where}: {error}")
    finally:
        browser.process.terminate()
        browser.process.wait()
        shutil.rmtree(profile, ignore_errors=True)
    for finding in findings:
        print(finding)
    print("with axe" if AXE else "without axe", file=sys.stderr)
    sys.exit(1 if findings else 0)


main()
