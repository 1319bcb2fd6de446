"""Python programs in processes of their own that need not import TensorFlow and Keras again, which takes five seconds.

They are forked off a process that has imported the two, without visionkit, and has computed nothing. A program sees no
difference, unless it looks for what is imported.
"""

import gc
import json
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

STREAMS = ("stdin", "stdout", "stderr")


class Preloaded:
    """The process that programs are forked off; it is started when the first of them is."""

    def __init__(self):
        self._process = None

    def run(self, words, input="", cwd=None, env=None, **_):
        """As `subprocess.run` with captured text, of a Python program: a file, -m MODULE or -c CODE."""
        env = dict(os.environ if env is None else env)
        assert words[0] == sys.executable and env.get("KERAS_BACKEND", "tensorflow") == "tensorflow"
        if self._process is None:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            here = os.environ | {"KERAS_BACKEND": "tensorflow", "PYTHONPATH": ""}
            command = [sys.executable, "-P", __file__]
            self._process = subprocess.Popen(command, env=here, cwd=tempfile.gettempdir(), text=True, **pipes)
        with tempfile.TemporaryDirectory() as folder:
            files = {name: Path(folder, name) for name in STREAMS}
            files["stdin"].write_text(input or "", encoding="utf-8")
            job = {"words": words[1:], "cwd": cwd or Path.cwd(), "env": env} | files
            self._process.stdin.write(json.dumps(job, default=str) + "\n")
            self._process.stdin.flush()
            code = int(self._process.stdout.readline())
            said = (files[name].read_text(encoding="utf-8", errors="backslashreplace") for name in STREAMS[1:])
            return subprocess.CompletedProcess(words, code, *said)

    def close(self):
        if self._process is not None:
            self._process.communicate()


def main():
    """Forks for each job that it reads; returns from here in the children only, as the program that was wanted."""
    import keras  # noqa: F401
    import tensorflow  # noqa: F401

    gc.freeze()
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            return become(json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def become(job):
    for number, name in enumerate(STREAMS):
        os.dup2(os.open(job[name], os.O_RDWR | os.O_CREAT), number)
        setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8"))
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["env"])
    words, options = job["words"], set()
    while words[0] in ("-E", "-P"):
        options.add(words.pop(0))
    kind = words.pop(0) if words[0] in ("-c", "-m") else ""
    if "-E" not in options:
        sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    if "-P" not in options:
        sys.path.insert(0, str(Path.cwd()) if kind else str(Path(words[0]).parent))
    sys.argv[:] = [kind if kind == "-c" else words[0], *words[1:]]
    if kind == "-c":
        exec(compile(words[0], "<string>", "exec"), {"__name__": "__main__"})
    elif kind == "-m":
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    main()
