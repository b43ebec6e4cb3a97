"""The raw client and a real server: what breaks in between is an error of ours or a second try, never a value."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.online_case import T0, Rows, edition, online_view, view_record
from tests.reader_case import COUNT, VIEWS, put, right, through
from tests.reader_proxy import proxied
from tiffin.core.errors import Corrupt, Denied, NotReady
from tiffin.embedded.valkey import Valkey, start_valkey
from tiffin.online.breaker import Breaker
from tiffin.online.fast_source import open_source
from tiffin.online.reader import FeatureReader, ViewRows
from tiffin.online.redis import connect
from tiffin.online.row_sources import open_rows
from tiffin.wire.keys import pointer_key, row_prefix


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    started = start_valkey(tmp_path_factory.mktemp("reader"))
    try:
        put(started, 1)
        put(started, 2, view=VIEWS[1])
        yield started
    finally:
        started.stop()


def reader_at(url: str, *views: str, **options) -> FeatureReader:
    records = [online_view(view_record(name=view)) for view in views or VIEWS[:1]]
    return FeatureReader(open_source(url, **options), records, now_us=lambda: T0)


def ask(reader: FeatureReader, rows: Rows, view: str = VIEWS[0]) -> ViewRows:
    return reader.read(rows.raw_keys)[f"network/{view}"]


def test_several_views_come_bit_for_bit_in_one_exchange(server: Valkey) -> None:
    rows, others = edition(1, range(COUNT)), edition(2, range(COUNT))
    with proxied(server.port) as proxy:
        reader = reader_at(through(server, proxy.port), *VIEWS)
        found = reader.read(rows.raw_keys)

        assert right(found["network/congestion"], rows)
        assert right(found["network/weather"], others)
        assert proxy.connections == 1


@pytest.mark.parametrize("drop", [1, 7, 51, 4096])
def test_a_reply_in_drops_is_the_same_reply(server: Valkey, drop: int) -> None:
    rows = edition(1, range(40))
    with proxied(server.port, drop=drop) as proxy:
        assert right(ask(reader_at(through(server, proxy.port)), rows), rows)


@pytest.mark.parametrize("bytes_back", [5, 400, 500, 20_000])
def test_a_reply_that_is_cut_is_not_ready_and_never_a_shorter_answer(server: Valkey, bytes_back: int) -> None:
    rows = edition(1, range(COUNT))
    with proxied(server.port, cut_after=bytes_back) as proxy:
        reader = reader_at(through(server, proxy.port))

        with pytest.raises(NotReady, match="does not answer"):
            ask(reader, rows)
        proxy.cut_after = None
        assert right(ask(reader, rows), rows)


def test_a_half_open_line_costs_one_timeout_and_the_next_read_works(server: Valkey) -> None:
    rows = edition(1, range(10))
    with proxied(server.port) as proxy:
        reader = reader_at(through(server, proxy.port), timeout_s=0.3)
        ask(reader, rows)
        proxy.silent = True

        with pytest.raises(NotReady, match=r"within 0\.3 s"):
            ask(reader, rows)
        proxy.silent = False
        assert right(ask(reader, rows), rows)
        assert proxy.connections == 2


def test_a_reply_that_trickles_for_ever_ends_at_the_timeout_of_the_whole_request(server: Valkey) -> None:
    rows = edition(1, range(COUNT))
    with proxied(server.port) as proxy:
        reader = reader_at(through(server, proxy.port), timeout_s=0.5)
        ask(reader, rows)
        # every piece comes long before the timeout, all of them would take three seconds
        proxy.drop, proxy.pause_s = 1000, 0.02

        with pytest.raises(NotReady, match=r"within 0\.5 s"):
            ask(reader, rows)


def test_a_line_that_lay_idle_for_long_is_replaced_before_its_use(server: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = edition(1, range(10))
    with proxied(server.port) as proxy:
        reader = reader_at(through(server, proxy.port), timeout_s=0.5)
        ask(reader, rows)
        monkeypatch.setattr("tiffin.online.connection.IDLE_S", -1.0)

        assert right(ask(reader, rows), rows)
        assert proxy.connections == 2


def test_a_restarted_server_is_asked_again_without_an_error(tmp_path: Path) -> None:
    first = start_valkey(tmp_path / "valkey")
    rows = put(first, 3, count=50)
    reader = reader_at(first.reader)
    ask(reader, rows)
    first.stop()  # keeps what it holds

    with pytest.raises(NotReady, match="does not answer"):
        ask(reader, rows)
    second = start_valkey(tmp_path / "valkey", port=first.port)
    try:
        assert right(ask(reader, rows), rows)
        second.stop()
        second = start_valkey(tmp_path / "valkey", port=first.port)
        # the line that the pool holds is dead, and the reader does not say so
        assert right(ask(reader, rows), rows)
    finally:
        second.stop()


def test_an_emptied_server_is_not_ready_and_never_a_default(tmp_path: Path) -> None:
    own = start_valkey(tmp_path / "valkey")
    try:
        rows = put(own, 3, count=50)
        reader = reader_at(own.reader)
        ask(reader, rows)
        connect(own.admin).flushall()

        with pytest.raises(NotReady, match="no generation in the online store"):
            ask(reader, rows)
    finally:
        own.stop()


def test_a_wrong_password_and_a_forbidden_key_are_denied(server: Valkey) -> None:
    rows = edition(1, range(3))
    admin = connect(server.admin)
    admin.execute_command("ACL", "SETUSER", "narrow", "on", ">pw", "resetkeys", "~other*", "resetchannels", "-@all", "+mget", "+hello")

    for user in ("narrow:pw", "reader:wrong"):
        with pytest.raises(Denied) as caught:
            ask(reader_at(f"redis://{user}@127.0.0.1:{server.port}/0"), rows)
        assert "pw" not in str(caught.value).replace("WRONGPASS", "")


def test_a_server_of_another_protocol_is_not_ready() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def speak() -> None:
        while True:
            client, _ = listener.accept()
            client.recv(65536)
            client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    threading.Thread(target=speak, daemon=True).start()
    with pytest.raises(NotReady, match="breaks the protocol"):
        ask(reader_at(f"redis://127.0.0.1:{listener.getsockname()[1]}/0"), edition(1, range(3)))


def test_alien_bytes_of_the_right_width_are_corrupt(server: Valkey) -> None:
    rows = put(server, 5, view="alien", count=20)
    admin = connect(server.admin)
    name = row_prefix("network", "alien", b"abc234") + rows.keys[7]
    row = admin.get(name)
    assert isinstance(row, bytes)
    admin.set(name, row[:-1] + bytes([row[-1] ^ 1]))

    with pytest.raises(Corrupt, match="view network/alien, key"):
        ask(reader_at(server.reader, "alien"), rows, "alien")


def test_many_threads_share_a_few_lines(server: Valkey) -> None:
    rows = edition(1, range(400))
    wrong: list[object] = []
    with proxied(server.port) as proxy:
        reader = reader_at(through(server, proxy.port), connections=3)

        def work(seed: int) -> None:
            order = np.random.default_rng(seed).permutation(400)
            keys = {"airport": [rows.airports[place] for place in order], "slot": rows.slots[order]}
            for _ in range(15):
                found = reader.read(keys)["network/congestion"]
                if found.columns["delay"].data.tolist() != rows.columns["delay"].data[order].tolist():
                    wrong.append(seed)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert 1 <= proxy.connections <= 3


def test_a_reader_that_finds_no_free_line_says_so(server: Valkey) -> None:
    rows = edition(1, range(3))
    source = open_source(server.reader, connections=1, timeout_s=0.2)
    reader = FeatureReader(source, [online_view(view_record())], now_us=lambda: T0)

    with source.pool.place(), pytest.raises(NotReady, match="no connection became free"):
        ask(reader, rows)
    assert right(ask(reader, rows), rows)


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate of localhost, and the context of a server that shows it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain, private = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, private)
    return chain, context


def test_tls_is_spoken_and_an_unknown_authority_refused(server: Valkey, tmp_path: Path) -> None:
    rows = edition(1, range(COUNT))
    chain, context = certificate(tmp_path)
    with proxied(server.port, tls=context) as proxy:
        url = through(server, proxy.port, scheme="rediss")

        assert right(ask(reader_at(url, tls=ssl.create_default_context(cafile=str(chain))), rows), rows)
        with pytest.raises(NotReady, match="cannot connect"):
            ask(reader_at(url), rows)


def test_a_server_that_is_gone_is_left_alone_after_some_failures(server: Valkey) -> None:
    rule = Breaker(failures=3, rest_s=3600)
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    rows = open_rows(f"redis://127.0.0.1:{port}/0", rule=rule)

    for _ in range(3):
        with pytest.raises(NotReady, match="cannot connect"):
            rows.words([b"x"])
    with pytest.raises(NotReady, match="failed 3 times in a row and is left alone"):
        rows.fetch([])
    assert open_rows(server.reader, rule=rule).words([pointer_key("network", VIEWS[0])]) != [None]
