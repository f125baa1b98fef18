"""The page as its operator starts it, in a process of its own, and a visitor that speaks to it as a browser does."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import psutil
import torch
from transformers import AutoModelForSeq2SeqLM, T5Config

from dept.basics.files import write_json
from lab.basics.processes import our_environment, our_python
from tests.backbones import VOCABULARY, tiny_tokenizer

START_SECONDS, ANSWER_SECONDS = 180.0, 90.0
BACKBONE = "folder:small-t5"  # as the page's visitors name `small_t5`


class PageServer:
    """`dept-lab app` on a folder; started by `with`, ended with it, whatever it has left running as well.

    Args:
        folder: its runs, temporary files and log go below; nothing else may change.
        tower: the folder of an image encoder that may be chosen.
        limits: of the operator's.
    """

    def __init__(self, folder: Path, tower: Path | None = None, **limits: int) -> None:
        self.folder = folder
        file = folder / "limits.json"
        write_json(file, limits)
        self._flags = ["--limits", str(file), "--backbone-folder", str(small_t5(folder))]
        if tower is not None:
            self._flags += ["--tower-folder", str(tower)]
        self.runs, self.log = folder / "runs", folder / "server.log"
        self.port = _free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *fault: object) -> None:
        self.kill()
        for process in self.trainers():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def start(self) -> float:
        """Seconds until it answers."""
        home = self.folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                our_python("lab.cli", "app", "--runs", str(self.runs), "--port", str(self.port), *self._flags),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=home,
                env=our_environment(GRADIO_TEMP_DIR=str(home / "gradio"), HF_HUB_OFFLINE="1"),
            )
        while time.monotonic() - started < START_SECONDS:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.address}/config", timeout=5).status_code == 200:
                    return time.monotonic() - started
            assert self._process.poll() is None, self.log.read_text()
            time.sleep(0.1)
        raise TimeoutError(f"the page did not start: {self.log.read_text()}")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL: no chance to tidy anything up."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def trainers(self) -> list[psutil.Process]:
        """Every other process that works in the folder of runs."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            command = process.info["cmdline"] or []
            if str(self.runs) in " ".join(command) and "app" not in command and process.pid != os.getpid():
                found.append(process)
        return found

    def zombies(self) -> list[psutil.Process]:
        """Dead processes that the server has not waited for."""
        children = psutil.Process(self.pid).children(recursive=True)
        return [child for child in children if child.status() == psutil.STATUS_ZOMBIE]


@dataclass
class Browser:
    """One visitor: knows the page's listeners by their name, keeps a token, calls them as the page's scripts do."""

    address: str
    session: str = field(default_factory=lambda: os.urandom(6).hex())
    identity: Any = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.address, timeout=120)
        config = self.http.get("/config").json()
        self.parts = {part["id"]: part for part in config["components"]}
        self.listeners: list[dict[str, Any]] = [one for one in config["dependencies"] if one["backend_fn"]]
        self.identity = self.call(self.named("opened", "load"), [self.identity, ""])[0]

    def named(self, name: str, event: str) -> dict[str, Any]:
        """The first listener whose function and event have these names."""
        for listener in self.listeners:
            plain = str(listener["api_name"]).rstrip("0123456789").rstrip("_")
            if plain == name and any(target[1] == event for target in listener["targets"]):
                return listener
        raise LookupError(f"the page has no listener {name} on {event}")

    def values(self, listener: dict[str, Any]) -> list[Any]:
        """What the listener's inputs hold when the page opens, and the visitor's token."""
        parts = [self.parts[part] for part in listener["inputs"]]
        return [self.identity if part["type"] == "browserstate" else part["props"].get("value") for part in parts]

    def fields(self, listener: dict[str, Any], **named: Any) -> list[Any]:
        """The same with some inputs set, by their label (spaces and commas as _)."""
        values = self.values(listener)
        labels = [str(self.parts[part]["props"].get("label") or "") for part in listener["inputs"]]
        plain = [label.replace(", ", "_").replace(" ", "_") for label in labels]
        for name, value in named.items():
            values[plain.index(name)] = value
        return values

    def post(self, listener: dict[str, Any], data: Any) -> httpx.Response:
        """The raw answer of a listener that does not queue."""
        return self._send("run/predict", listener, data)

    def queued(self, listener: dict[str, Any], data: Any) -> tuple[int, str]:
        """Status and last message of a listener that queues: joined, then heard to its end; status 0 for no end."""
        joined = self._send("queue/join", listener, data)
        if joined.status_code != 200:
            return joined.status_code, joined.text
        end = time.monotonic() + ANSWER_SECONDS
        with self.http.stream("GET", f"/gradio_api/queue/data?session_hash={self.session}") as answer:
            for line in answer.iter_lines():
                if '"process_completed"' in line:
                    return 200, line.removeprefix("data: ")
                if time.monotonic() > end:  # the server sends a sign of life all the while
                    break
        return 0, "no answer"

    def _send(self, place: str, listener: dict[str, Any], data: Any) -> httpx.Response:
        body = {"fn_index": listener["id"], "data": data, "session_hash": self.session, "trigger_id": None}
        content = json.dumps(body).encode("utf-8", "surrogatepass")
        headers = {"content-type": "application/json"}
        try:
            return self.http.post(f"/gradio_api/{place}", content=content, headers=headers)
        except httpx.TransportError:  # an answer that failed has closed the connection: ask again, as a browser does
            return self.http.post(f"/gradio_api/{place}", content=content, headers=headers)

    def call(self, listener: dict[str, Any], data: Any) -> list[Any]:
        """A listener's outputs, however it is called."""
        if listener["queue"]:
            answer = json.loads(self.queued(listener, data)[1])
            assert answer["success"], answer
            outputs: list[Any] = answer["output"]["data"]
            return outputs
        response = self.post(listener, data)
        assert response.status_code == 200, response.text
        found: list[Any] = response.json()["data"]
        return found

    def launch(self, **settings: Any) -> list[str]:
        """Launch with these fields of the Train tab; the runs' ids.

        Raises:
            AssertionError: refused, with what the page said.
        """
        listener = self.named("launch", "click")
        ids, said = self.call(listener, self.fields(listener, **settings))
        assert isinstance(ids, str), said
        return ids.split(",")

    def look(self, opened: Sequence[str] = (), seen: str = "") -> list[Any]:
        """What the Runs tab's timer fetches."""
        return self.call(self.named("look", "tick"), [self.identity, ",".join(opened), seen])


def small_t5(folder: Path) -> Path:
    """A T5 of 1.4 million random weights, as a folder: quick to train, and of no use but that."""
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=VOCABULARY, d_model=128, d_kv=32, d_ff=512, num_layers=4, num_decoder_layers=2, num_heads=4,
        pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    config.decoder_start_token_id = 0
    path = folder / "small-t5"
    AutoModelForSeq2SeqLM.from_config(config).save_pretrained(path)
    tiny_tokenizer(ends_with_eos=True).save_pretrained(path)
    return path


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port
