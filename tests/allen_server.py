"""A stand-in for the Allen API on 127.0.0.1, which misbehaves on request."""

from __future__ import annotations

import gzip
import io
import json
import re
import socket
import struct
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import numpy as np

from training.acquisition.volumes import Grid

SMALL = Grid(ap=12, dv=64, ml=72, columns=(4, 68))
"""True layout at a size that takes no time."""


def coordinate_volume(grid: Grid = SMALL, brain: int = 0) -> np.ndarray:
    """(AP, DV, ML) uint16 in which each voxel encodes where it is, the same for no two brains."""
    ap, dv, ml = np.ogrid[: grid.ap, : grid.dv, : grid.ml]
    return (1 + brain + 7 * ml + 97 * dv + 1009 * ap).astype(np.uint16)


def volume_zip(
    volume: np.ndarray,
    *,
    header: dict[str, str] | None = None,
    level: int = 1,
    channels: tuple[str, ...] = ("red", "green", "blue"),
) -> bytes:
    """Zip of an (AP, DV, ML) volume as the Allen Institute serves it: mhd and raw, AP fastest."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compresslevel=level) as archive:
        for channel in channels:
            lines = {
                "ObjectType": "Image",
                "NDims": "3",
                "BinaryData": "True",
                "BinaryDataByteOrderMSB": "False",
                "CompressedData": "False",
                "TransformMatrix": "1 0 0 0 1 0 0 0 1",
                "ElementSpacing": "25 25 25",
                "DimSize": " ".join(map(str, volume.shape)),
                "ElementType": "MET_USHORT",
                "ElementDataFile": f"resampled_{channel}.raw",
            } | (header or {})
            text = "".join(f"{key} = {value}\n" for key, value in lines.items())
            archive.writestr(zipfile.ZipInfo(f"resampled_{channel}.mhd"), text)
            member = zipfile.ZipInfo(f"resampled_{channel}.raw")  # without the time of day
            member.compress_type = zipfile.ZIP_DEFLATED if level else zipfile.ZIP_STORED
            member.file_size = 2 * volume.size
            with archive.open(member, "w") as raw:
                other = 1 if channel == "red" else 0
                for slab in np.moveaxis(volume, 2, 0):
                    raw.write((np.ascontiguousarray(slab.T) * other).astype("<u2").tobytes())
    return buffer.getvalue()


def nrrd_bytes(volume: np.ndarray) -> bytes:
    """Gzipped NRRD of an (AP, DV, ML) volume."""
    kind = {"uint16": "unsigned short", "uint32": "unsigned int"}[volume.dtype.name]
    header = (
        f"NRRD0004\ntype: {kind}\ndimension: 3\n"
        f"sizes: {' '.join(map(str, volume.shape))}\nendian: little\nencoding: gzip\n\n"
    )
    return header.encode() + gzip.compress(volume.tobytes(order="F"), compresslevel=1)


def record(experiment: int, **fields: Any) -> dict[str, Any]:
    """One row of the ApiConnectivity table."""
    return {
        "data_set_id": experiment,
        "gender": "M" if experiment % 2 else "F",
        "injection_structures": "997/315",
        "structure_id": 315,
        "structure_abbrev": "Isocortex",
        "injection_volume": experiment / 1000,
        "strain": "C57BL/6J",
        "transgenic_line": {"name": "Rbp4-Cre_KL100"} if experiment % 3 == 0 else None,
        "storage_directory": "/external/nowhere",
    } | fields


STRUCTURES = [
    {
        "id": int(path.rstrip("/").rsplit("/", 1)[1]),
        "acronym": acronym,
        "name": name,
        "color_hex_triplet": "70FF71",
        "graph_id": 1,
        "graph_order": order,
        "structure_id_path": path,
        "structure_sets": [{"id": 167587189}],
    }
    for order, (acronym, name, path) in enumerate(
        [
            ("root", "root", "/997/"),
            ("Isocortex", "Isocortex", "/997/315/"),
            ("RSP", "Retrosplenial area", "/997/315/254/"),
            ("TH", "Thalamus", "/997/549/"),
        ]
    )
]


@dataclass
class Fault:
    """How a request is answered instead, so many times."""

    how: str
    times: int = 10**6
    on: str = "file"
    body: bytes = b""


@dataclass
class AllenServer:
    """What is served, what goes wrong, and what was asked."""

    records: list[dict[str, Any]] = field(default_factory=list)
    volume: Callable[[int], bytes] = lambda experiment: volume_zip(
        coordinate_volume(brain=experiment % 97)
    )
    archive: dict[str, bytes] = field(default_factory=dict)
    faults: dict[int, Fault] = field(default_factory=dict)
    pause: float = 0
    ranges: bool = True
    log: list[tuple[str, int, str]] = field(default_factory=list)
    most_at_once: int = 0
    url: str = ""

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        self.active = 0
        self.released = threading.Event()

    def fetched(self) -> dict[int, int]:
        """How often the file of each experiment was asked for."""
        return dict(Counter(experiment for what, experiment, _ in self.log if what == "file"))

    def fault(self, experiment: int, what: str) -> Fault | None:
        with self.lock:
            fault = self.faults.get(experiment)
            if fault is None or fault.on != what or fault.times == 0:
                return None
            fault.times -= 1
            return fault


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        play = self.server.play
        with play.lock:
            play.active += 1
            play.most_at_once = max(play.most_at_once, play.active)
        try:
            self._answer(unquote(self.path))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with play.lock:
                play.active -= 1

    def _answer(self, path: str) -> None:
        play = self.server.play
        if "model::ApiConnectivity" in path:
            self._records("experiments", 0, play.records)
        elif "model::Structure" in path:
            self._records("structures", 0, STRUCTURES)
        elif "model::WellKnownFile" in path:
            assert "'ImagesResampledTo25MicronARA'" in path
            experiment = int(re.search(r"attachable_id\$eq(\d+)", path)[1])
            link = f"/api/v2/well_known_file_download/{experiment}"
            self._records("link", experiment, [{"id": experiment, "download_link": link}])
        elif path.startswith("/api/v2/well_known_file_download/"):
            experiment = int(path.rsplit("/", 1)[1])
            self._file("file", experiment, play.volume(experiment))
        elif path.startswith("/informatics-archive/") and path in play.archive:
            self._file("archive", 0, play.archive[path])
        else:
            self._send(404, b"not here")

    def _records(self, what: str, experiment: int, records: list[Any]) -> None:
        play = self.server.play
        play.log.append((what, experiment, ""))
        fault = play.fault(experiment, what)
        body = json.dumps({"success": True, "num_rows": len(records), "msg": records}).encode()
        if fault and fault.how == "replace":
            body = fault.body
        elif fault:
            self._misbehave(fault, body)
            return
        self._send(200, body, "application/json")

    def _file(self, what: str, experiment: int, body: bytes) -> None:
        play = self.server.play
        asked = self.headers.get("Range", "") if play.ranges else ""
        play.log.append((what, experiment, self.headers.get("Range", "")))
        time.sleep(play.pause)
        fault = play.fault(experiment, "file")
        if fault and fault.how == "replace":
            self._send(200, fault.body)
            return
        if not asked:
            start, status, headers = 0, 200, {}
        else:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if start >= len(body):
                self._send(416, b"", headers={"Content-Range": f"bytes */{len(body)}"})
                return
            about = f"bytes {start}-{len(body) - 1}/{len(body)}"
            status, headers = 206, {"Content-Range": about}
        if fault:
            self._misbehave(fault, body[start:], status, headers)
        else:
            self._send(status, body[start:], headers=headers)

    def _misbehave(
        self, fault: Fault, body: bytes, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        half = body[: len(body) // 2]
        if fault.how in ("500", "404", "429"):
            later = {"Retry-After": "1"} if fault.how == "429" else {}
            self._send(int(fault.how), b"sorry", headers=later)
        elif fault.how == "short":  # a truncated file whose length is stated as if it were whole
            self._send(status, half, headers=headers)
        elif fault.how == "reset":
            self._start(status, len(body), headers)
            self.wfile.write(half)
            # Linger 0: the kernel sends a reset instead of an orderly end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
        elif fault.how == "stall":
            self._start(status, len(body), headers)
            self.wfile.write(half)
            self.wfile.flush()
            self.server.play.released.wait(20)
            self.close_connection = True
        else:
            raise AssertionError(fault.how)

    def _start(
        self, status: int, length: int, headers: dict[str, str] | None, kind: str = ""
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind or "application/octet-stream")
        self.send_header("Content-Length", str(length))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()

    def _send(
        self, status: int, body: bytes, kind: str = "", headers: dict[str, str] | None = None
    ) -> None:
        self._start(status, len(body), headers, kind)
        self.wfile.write(body)


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, play: AllenServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.play = play

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that are killed are what this server is for."""


@contextmanager
def serving(play: AllenServer) -> Iterator[AllenServer]:
    """Serve on 127.0.0.1 until the block ends."""
    http = _Http(play)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    play.url = f"http://127.0.0.1:{http.server_address[1]}"
    try:
        yield play
    finally:
        play.released.set()
        http.shutdown()
        thread.join()
        http.server_close()


def fetch_small(arguments: list[str]) -> None:
    """Run the command in this process, on small volumes."""
    from training import acquire
    from training.acquisition import fetch_sections as sections
    from training.cli import parse

    options = parse(acquire.Acquire, "acquire", ["sections", *arguments]).sections
    connection, service = acquire.connect(options)
    with connection:
        sections.fetch_sections(options, connection, service, SMALL)
