"""Headless Chromium that is driven: files are dropped, scripts look at the page, films play.

This is Chrome's DevTools protocol, without any package: JSON messages that end with a zero byte, over files 3 and 4.
"""

import base64
import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from support.browser import CHROMIUM, QUIET

from visionkit.images import read_image


class Tab:
    """An open page; `console` has what it complained of."""

    def __init__(self, commands: int, answers: int):
        self._commands, self._answers, self._number, self._session = commands, os.fdopen(answers, "rb"), 0, None
        self._rest, self.console = b"", []
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self._session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self(f"{domain}.enable")

    def __call__(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Gives an order, and returns its result."""
        self._number += 1
        order = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            order["sessionId"] = self._session
        os.write(self._commands, json.dumps(order).encode() + b"\0")
        while (message := self._message()).get("id") != self._number:
            self._note(message)
        assert "error" not in message, f"{method}: {message['error']}"
        return message["result"]

    def open(self, url: str, size: tuple[int, int] = (800, 1200), dark: bool = False) -> None:
        """Opens a page in a window of `size` (height, width), and waits until it has loaded."""
        self("Emulation.setDeviceMetricsOverride", width=size[1], height=size[0], deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self("Emulation.setEmulatedMedia", features=[scheme])
        self.console.clear()
        self("Page.navigate", url=url)
        while (message := self._message()).get("method") != "Page.loadEventFired":
            self._note(message)

    def run(self, script: str) -> Any:
        """The value of a script; a promise is awaited."""
        found = self("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def text(self, selector: str) -> str:
        """The text of an element."""
        return self.run(f"document.querySelector({json.dumps(selector)}).textContent")

    def wait(self, condition: str, seconds: float = 20) -> None:
        """Waits until a condition holds."""
        wait = f"if ({condition}) done(true); else if (Date.now() > end) done(false); else setTimeout(look, 20)"
        script = (
            f"new Promise(done => {{ const end = Date.now() + {1000 * seconds}; (function look() {{ {wait} }})() }})"
        )
        assert self.run(script), f"not within {seconds} s: {condition}"

    def drop(self, files: list[Path], x: int, y: int) -> None:
        """Drops files on a place in the window."""
        data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def picture(self, file: Path) -> np.ndarray:
        """What the window shows, uint8 `[H, W, 3]`; also written to `file`, a .png."""
        file.write_bytes(base64.b64decode(self("Page.captureScreenshot", format="png")["data"]))
        return read_image(file)

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = self._answers.read1(2**20)
            assert more, "the browser has ended"
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def _note(self, message: dict[str, Any]) -> None:
        method, parameters = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.console.append(str(parameters["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.console.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")
        elif method == "Runtime.consoleAPICalled":
            self.console.append(str([argument.get("value") for argument in parameters["args"]]))

    def close(self) -> None:
        """Ends the browser."""
        with contextlib.suppress(OSError, AssertionError):
            self._session = None
            self("Browser.close")
        os.close(self._commands)
        self._answers.close()


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Tab]:
    """Yields a tab of a browser of its own, which ends with the block.

    Args:
        folder: for its profile, which must not exist yet.
    """
    ours_read, theirs_write = os.pipe()
    theirs_read, ours_write = os.pipe()
    command = [str(CHROMIUM), "--headless", *QUIET.split(), f"--user-data-dir={folder / 'profile'}"]
    command += ["--remote-debugging-pipe", "--autoplay-policy=no-user-gesture-required", "about:blank"]
    # The child's pipes must be its file numbers 3 and 4, whatever they are here.
    shell = ["bash", "-c", f'exec "$@" 3<&{theirs_read} 4>&{theirs_write}', "chromium", *command]
    process = subprocess.Popen(
        shell, pass_fds=(theirs_read, theirs_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(theirs_read)
    os.close(theirs_write)
    try:
        tab = Tab(ours_write, ours_read)
        try:
            yield tab
        finally:
            tab.close()
    finally:
        process.terminate()
        process.wait(20)
