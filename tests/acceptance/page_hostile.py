"""Hostile inputs to all that the page's server answers to: refused, nothing told or written, no script run."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from tests.acceptance.page_server import BACKBONE, Browser, PageServer
from tests.acceptance.section import Outcome, Section, table

SCRIPT = "<img src=x onerror=\"document.title='taken over'\"><script>document.title='taken over'</script>"
NOT_LOOKED = "no Chromium here: not looked at"
_LEAKS = ("root:x:0:0", "Traceback (most recent call last)", 'File "/')
_VALUES: list[Any] = [
    *("../../../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "..%2f..%2fetc%2fpasswd", "~root/.ssh/id_rsa"),
    *("folder:../..", "upload:../../x", "run:../../x", ".queue/operator-key", "C:\\windows\\win.ini", "con\0nul"),
    *(SCRIPT, "{{7*7}}${7*7}", "'; DROP TABLE runs; --", "$(touch owned)", "`touch owned`", "__import__('os')"),
    *("!!python/object/apply:os.system ['touch owned']", "\ud800", "\u202egnp.exe", "%s%s%n", "x" * 200_000, ""),
    *(10**400, -(10**18), 1e308, -1, 0, 0.5, True, None, [], {}, ["/etc/passwd"], [[[[]]]] * 50),
    *({"__class__": "x"}, {"token": ["x"]}, {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}),
    {"path": "../../../etc/passwd", "orig_name": "x.csv", "meta": {"_type": "gradio.FileData"}},
    {"url": "file:///etc/passwd", "path": "", "meta": {"_type": "gradio.FileData"}},
]
_PATHS = [
    "/etc/passwd",
    "../../../../etc/passwd",
    "..%2f..%2f..%2fetc%2fpasswd",
    "%2fetc%2fpasswd",
    "/proc/self/environ",
]
_PLACES = [
    "file=",
    "file/",
    "proxy=",
    "stream/",
    "custom_component/",
    "static/",
    "../static/",
    "../assets/",
    "../svelte/",
]
_OFF = [
    "monitoring",
    "monitoring/summary",
    "gradio_api/vibe-code",
    "gradio_api/run-history/records",
]
_URLS = ("http://127.0.0.1:22/", "http://169.254.169.254/latest/meta-data/", "https://example.com/x")
_BODIES = ("", "[]", '{"code": "x"}', '{"component_id": 1, "fn_name": "__init__", "session_hash": "x", "data": 1}')
_TABLES = {
    "x.csv": b"a,b\n1\n",
    "../../x.csv": b"text,label\n" + b"a,b\n" * 3,
    "x.pkl": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0btouch owned\x85R.",
    "bomb.jsonl": b'{"a": ' + b"[" * 100_000,
    "wide.csv": b",".join(b"c%d" % number for number in range(5000)) + b"\n",
    "number.jsonl": b'{"a": ' + b"9" * 5000 + b"}\n",
    "binary.csv": bytes(range(256)) * 100,
    "large.csv": b"x" * (6 * 2**20),
    f"{SCRIPT}.csv": f'"{SCRIPT.replace(chr(34), chr(34) * 2)}",label\n'.encode() + b"a,b\n" * 3,
}


class _Attack:
    """What has been tried, and what went wrong."""

    def __init__(self, server: PageServer) -> None:
        self.server, self.browser = server, Browser(server.address)
        self.tried = 0
        self.wrong: list[str] = []
        self.secrets = [(server.runs / ".queue" / "operator-key").read_text(), str(server.runs)]

    def note(self, what: str, status: int, body: str) -> None:
        """An answer may say no in any way, but not what is nobody's business."""
        self.tried += 1
        found = [leak for leak in (*_LEAKS, *self.secrets) if leak in body]
        if found or status == 0:
            self.wrong.append(f"{what[:120]}: status {status}, shows {found}")

    def listeners(self) -> None:
        """Every value in every input of every listener, the other inputs as a browser has them."""
        for listener in self.browser.listeners:
            usual = self.browser.values(listener)
            payloads = [[], [None] * (len(usual) + 3), [SCRIPT] * len(usual), "text"]
            payloads += [[*usual[:place], value, *usual[place + 1 :]] for place, value in _spread(len(usual))]
            for payload in payloads:
                what = f"{listener['api_name']} {json.dumps(payload)[:60]}"
                if listener["queue"]:
                    self.note(what, *self.browser.queued(listener, payload))
                else:
                    answer = self.browser.post(listener, payload)
                    self.note(what, answer.status_code, answer.text)

    def addresses(self) -> None:
        """Paths out of what is served, and what is switched off; redirects to other hosts are not followed."""
        own = [str(self.server.runs / ".queue" / "operator-key"), str(self.server.runs / ".queue" / "workers.log")]
        addresses = [f"gradio_api/{place}{path}" for place in _PLACES for path in (*_PATHS, *own)]
        addresses += [f"gradio_api/{place}{url}" for place in ("file=", "proxy=") for url in _URLS]
        addresses += [f"?run={SCRIPT}", "?run=../../etc/passwd", "?operator=x", *_OFF]
        for address in addresses:
            answer = self.browser.http.get(f"/{address}")
            # The config names no place on the machine but gradio's own folder for files.
            said = "" if address.startswith("?") else answer.text.replace(own[0], "").replace(own[1], "")
            self.note(f"GET {address}", answer.status_code, said)  # a refusal may repeat what was asked for
        for address in _OFF[:3]:
            answer = self.browser.http.get(f"/{address}")
            if answer.status_code == 200 and "json" in answer.headers.get("content-type", ""):
                self.wrong.append(f"GET {address} is answered")
        for content in _BODIES:
            for place in ("component_server", "vibe-code", "vibe-edit", "cancel", "reset", "process_recording"):
                headers = {"content-type": "application/json"}
                answer = self.browser.http.post(f"/gradio_api/{place}", content=content, headers=headers)
                self.note(f"POST {place} {content}", answer.status_code, answer.text)

    def tables(self) -> None:
        """Uploads whose names or contents are not what they should be, given to both listeners that take files."""
        takers = [(self.browser.named("_receive", "upload"), 1), (self.browser.named("predict_file", "upload"), 2)]
        for name, content in _TABLES.items():
            sent = self.browser.http.post("/gradio_api/upload", files={"files": (name, content)})
            self.note(f"upload {name}", sent.status_code, "" if sent.status_code == 200 else sent.text)
            if sent.status_code != 200:
                continue
            file = {"path": sent.json()[0], "orig_name": name, "meta": {"_type": "gradio.FileData"}}
            for listener, place in takers:
                data = self.browser.values(listener)
                data[place] = file
                status, said = self.browser.queued(listener, data)
                self.note(f"{listener['api_name']} {name}", status, said.replace(sent.json()[0], ""))

    def others_runs(self) -> None:
        """Somebody else's run: each change is refused, and it is not in the list."""
        (run,) = Browser(self.server.address).launch(
            Backbone=BACKBONE, Rows="sample", Method="dept", Steps=2000, Evaluate_every=2000, s_source_tokens=32
        )
        for identity in (
            {},
            None,
            {"token": "x" * 43},
            {"token": secrets.token_urlsafe(32), "key": "guess"},
            [1],
            "x",
        ):
            other = Browser(self.server.address)
            other.identity = identity
            for name in ("stop", "resume"):
                answer = other.post(other.named(name, "click"), [identity, run])
                self.note(f"{name} somebody else's", answer.status_code, answer.text)
            if run in str(other.look()[0]):
                self.wrong.append(f"{identity} sees somebody else's run in the list")
        state = json.loads((self.server.runs / run / "state.json").read_text())
        if state["status"] not in ("queued", "running") or (self.server.runs / run / "stop").exists():
            self.wrong.append("somebody else stopped a run")


def _spread(inputs: int) -> Iterator[tuple[int, Any]]:
    """(input, value): every value at one input at least, and every input with several values."""
    for index, value in enumerate(_VALUES):
        if inputs:
            yield index % inputs, value


def measure() -> Outcome:
    with tempfile.TemporaryDirectory(prefix="dept-page-") as name, PageServer(Path(name), waiting=10) as server:
        before = _files(server)
        attack = _Attack(server)
        attack.listeners()
        attack.addresses()
        attack.tables()
        attack.others_runs()
        ran = _scripts_that_ran(server)
        alive = httpx.get(f"{server.address}/config").status_code == 200
        new = [path for path in _files(server) - before if not _may_be_written(server, path)]
        written = sorted(str(path.relative_to(server.folder)) for path in new)
        ours = len(re.findall(r'File ".*/(?:lab|dept)/\w', server.log.read_text()))
    rows = [
        ("hostile inputs", f"{attack.tried:,}", attack.tried >= 200),
        ("answers that show a secret, a place on the machine or a traceback",
         "; ".join(attack.wrong[:5]) or "none", not attack.wrong),
        ("lines of our code in the server's tracebacks", str(ours), ours == 0),
        ("files outside the folder of runs and of temporary files", ", ".join(written[:5]) or "none", not written),
        ("scripts that ran in Chromium", ran, ran in ("none", NOT_LOOKED)),
        ("the page still answers", "yes" if alive else "no", alive),
    ]  # fmt: skip
    text = table(["what", "seen", "met"], [[what, seen, "yes" if good else "NO"] for what, seen, good in rows])
    return Outcome(all(good for *_, good in rows), text)


def _scripts_that_ran(server: PageServer) -> str:
    """Opens the page where hostile names would be shown, and looks whether one has become more than text."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        return NOT_LOOKED
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        hostile = Path(folder) / "rows.csv"
        quoted = SCRIPT.replace('"', '""')
        hostile.write_text(f'"{quoted}",label\n' + f'"{quoted}",a\n"{quoted}2","{quoted}"\n' * 5)
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = chromium.new_page()
        page.goto(f"{server.address}/?run={quote(SCRIPT)}")
        page.wait_for_timeout(3000)
        page.get_by_role("tab", name="Train").click()
        page.get_by_label("Rows").click()
        page.get_by_role("option", name="Your own rows").click()
        page.locator("#own-rows input[type=file]").set_input_files(hostile)
        page.locator("#own-rows table").wait_for()
        page.get_by_role("button", name="Use these rows").click()
        page.get_by_text("As they will be fed").wait_for()
        page.wait_for_timeout(1000)
        shown, title = page.locator("#own-rows").first.inner_text(), page.title()
        chromium.close()
    if "onerror" not in shown:
        return "the rows were not shown: not looked at"
    return "none" if title == "DePT Lab" else "in the rows or the address"


def _files(server: PageServer) -> set[Path]:
    return {path for path in server.folder.rglob("*") if path.is_file()}


def _may_be_written(server: PageServer, path: Path) -> bool:
    temporary = server.folder / "home" / "gradio"
    return path == server.log or any(path.is_relative_to(folder) for folder in (server.runs, temporary))


SECTION = Section(
    "page_hostile",
    "The page: hostile inputs",
    "at least 200 hostile inputs to every endpoint refused cleanly, nothing written outside the run folder, no script "
    "executed.",
    measure,
)
