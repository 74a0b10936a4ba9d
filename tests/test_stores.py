"""Models in one file, in memory, and where fsspec reaches: one suite for all of them."""

import contextlib
import functools
import http.server
import itertools
import os
import pickle
import threading
import warnings
import zipfile

import pytest
from estimators import LABELS, X
from graphs import assert_same
from sklearn.ensemble import RandomForestClassifier

import shardpickle
from shardpickle import api
from shardpickle.cli import main
from shardpickle.storage import remote

fsspec = pytest.importorskip("fsspec", reason="the extra `remote` is not installed")

SEED = {"random_state": 0}


@pytest.fixture(scope="module")
def model():
    return RandomForestClassifier(30, **SEED).fit(X, LABELS)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(remote, "_FIRST_WAIT", 0.0)


@pytest.fixture(scope="module")
def s3_server():
    server_of = pytest.importorskip("moto.server", reason="moto is not installed")
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    server = server_of.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


BUCKETS = itertools.count()


@pytest.fixture(params=["memory", "s3"])
def place(request):
    """A URL for a new model, and its options."""
    if request.param == "memory":
        return f"memory://models/{next(BUCKETS)}/model", None
    options = {
        "key": "test",
        "secret": "test",
        "client_kwargs": {"endpoint_url": request.getfixturevalue("s3_server")},
    }
    bucket = f"bucket{next(BUCKETS)}"
    fsspec.filesystem("s3", **options).mkdir(bucket)
    return f"s3://{bucket}/model", options


def files_at(url, options):
    system, root = fsspec.core.url_to_fs(url, **(options or {}))
    system.invalidate_cache()
    return {
        path.removeprefix(root).lstrip("/"): system.cat_file(path) for path in system.find(root)
    }


def files_of(root):
    found = {str(each.relative_to(root)): each.read_bytes() for each in root.rglob("*.*")}
    return {name.replace(os.sep, "/"): data for name, data in found.items()}


def test_a_url_holds_what_a_directory_holds(place, model, tmp_path):
    url, options = place
    report = shardpickle.dump(model, url, shard_size="30kB", storage_options=options)
    shardpickle.dump(model, tmp_path / "model", shard_size="30kB")
    assert files_at(url, options) == files_of(tmp_path / "model")
    assert report.shards_written == len(files_of(tmp_path / "model")) - 1
    found = shardpickle.load(url, storage_options=options)
    assert (found.predict_proba(X) == model.predict_proba(X)).all()
    assert shardpickle.verify(url, deep=True, storage_options=options).ok
    info = shardpickle.inspect(url, storage_options=options)
    assert info.digest == shardpickle.inspect(tmp_path / "model").digest


@pytest.mark.long
def test_only_missing_shards_travel_and_nothing_is_deleted(place, model):
    url, options = place
    shardpickle.dump(model, url, shard_size="30kB", storage_options=options)
    before = files_at(url, options)
    report = shardpickle.dump(model, url, shard_size="30kB", storage_options=options)
    assert (report.shards_written, report.written_bytes) == (0, 0)
    grown = RandomForestClassifier(40, **SEED).fit(X, LABELS)
    report = shardpickle.dump(grown, url, shard_size="30kB", storage_options=options)
    after = files_at(url, options)
    new = after.keys() - before.keys()
    assert report.shards_written == len(new)
    assert report.shards_reused >= 2
    assert before.keys() <= after.keys()
    assert report.written_bytes == sum(len(after[name]) for name in (*new, "manifest.json"))
    count, nbytes = api.collect_garbage(url, storage_options=options)
    gone = after.keys() - files_at(url, options).keys()
    assert (count, nbytes) == (len(gone), sum(len(after[name]) for name in gone))
    assert count >= 1
    found = shardpickle.load(url, storage_options=options)
    assert (found.predict_proba(X) == grown.predict_proba(X)).all()


def test_a_lazy_model_fetches_what_it_needs_and_keeps_it(place, model, tmp_path):
    url, options = place
    shardpickle.dump(model, url, shard_size="30kB", storage_options=options)
    lazy = shardpickle.load(url, lazy=True, storage_options=options, cache_dir=tmp_path / "cache")
    few = set(os.listdir(tmp_path / "cache"))
    assert 0 < len(few) < len(files_at(url, options)) - 1
    assert (lazy.predict_proba(X) == model.predict_proba(X)).all()
    kept = set(os.listdir(tmp_path / "cache"))
    assert few < kept
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", shardpickle.LazyReferenceWarning)
        data = pickle.dumps(lazy)
    assert (pickle.loads(data).predict_proba(X) == model.predict_proba(X)).all()
    damaged = tmp_path / "cache" / sorted(kept)[0]
    damaged.write_bytes(b"\0" + damaged.read_bytes()[1:])
    found = shardpickle.load(url, storage_options=options, cache_dir=tmp_path / "cache")
    assert (found.predict_proba(X) == model.predict_proba(X)).all()


def test_a_place_that_holds_something_else_is_refused(place):
    url, options = place
    system, root = fsspec.core.url_to_fs(url, **(options or {}))
    with pytest.raises(shardpickle.ModelNotFoundError):
        shardpickle.load(url, storage_options=options)
    system.pipe_file(f"{root}/notes.txt", b"mine")
    with pytest.raises(shardpickle.ForeignDirectoryError, match=r"notes\.txt"):
        shardpickle.dump([1], url, storage_options=options)
    system.pipe_file(f"{root}/manifest.json", b"{}")
    with pytest.raises(shardpickle.ForeignDirectoryError, match=r"manifest\.json"):
        shardpickle.dump([1], url, storage_options=options)
    assert set(files_at(url, options)) == {"notes.txt", "manifest.json"}


@pytest.mark.long
def test_damage_at_a_url_is_told(place, model):
    url, options = place
    shardpickle.dump(model, url, shard_size="30kB", storage_options=options)
    system, root = fsspec.core.url_to_fs(url, **(options or {}))
    name = sorted(name for name in files_at(url, options) if "shards/" in name)[0]
    data = system.cat_file(f"{root}/{name}")
    system.pipe_file(f"{root}/{name}", data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(shardpickle.CorruptShardError, match=name):
        shardpickle.load(url, storage_options=options)
    system.pipe_file(f"{root}/{name}", data[:-1])
    with pytest.raises(shardpickle.CorruptShardError, match=name):
        shardpickle.load(url, storage_options=options)
    system.rm_file(f"{root}/{name}")
    with pytest.raises(shardpickle.MissingShardError, match=name):
        shardpickle.load(url, storage_options=options)
    assert not shardpickle.verify(url, storage_options=options).ok


# Networks that fail ------------------------------------------------------------------------------


class Faulty:
    """Makes the calls of a file system fail: one after the other, or all from one on."""

    METHODS = ("info", "open", "pipe_file", "cat_file", "ls")

    def __init__(self, system, monkeypatch, error):
        self.calls = 0
        self.fail = set()
        self.always_from = None
        for name in self.METHODS:
            monkeypatch.setattr(system, name, self._wrapped(getattr(system, name), error))

    def _wrapped(self, call, error):
        @functools.wraps(call)
        def wrapped(*args, **kwargs):
            self.calls += 1
            late = self.always_from is not None and self.calls >= self.always_from
            if self.calls in self.fail or late:
                raise error()
            return call(*args, **kwargs)

        return wrapped


ERRORS = {
    "connection": lambda: ConnectionResetError(104, "Connection reset by peer"),
    "timeout": TimeoutError,
    "throttled": lambda: OSError(16, "SlowDown: Please reduce your request rate."),
    "server": lambda: RuntimeError("503 Service Unavailable"),
}


@pytest.mark.long
@pytest.mark.parametrize("kind", ERRORS)
def test_every_call_that_fails_once_is_made_again(kind, model, monkeypatch):
    url = f"memory://faulty/{next(BUCKETS)}"
    system = fsspec.filesystem("memory")
    faulty = Faulty(system, monkeypatch, ERRORS[kind])
    shardpickle.dump(model, url, shard_size="30kB", workers=1)
    shardpickle.load(url, workers=1)
    count = faulty.calls
    assert count > 20
    for number in range(1, count + 1):
        where = f"memory://faulty/{next(BUCKETS)}"
        faulty.calls, faulty.fail = 0, {number}
        shardpickle.dump(model, where, shard_size="30kB", workers=1)
        found = shardpickle.load(where, workers=1)
        assert faulty.calls > count
        if number % 7 == 0:
            assert (found.predict_proba(X) == model.predict_proba(X)).all()


def test_a_network_that_is_gone_is_a_clear_error_and_never_half_a_model(model, monkeypatch):
    system = fsspec.filesystem("memory")
    faulty = Faulty(system, monkeypatch, ERRORS["connection"])
    url = f"memory://faulty/{next(BUCKETS)}"
    shardpickle.dump(model, url, shard_size="30kB", workers=1)
    other = RandomForestClassifier(30, random_state=1).fit(X, LABELS)
    for number in itertools.count(1):
        faulty.calls, faulty.always_from = 0, number
        try:
            shardpickle.dump(other, url, shard_size="30kB", workers=1)
        except shardpickle.StorageError as error:
            told = str(error)
        else:
            break
        assert "Connection reset" in told
        assert url in told
        faulty.always_from = None
        found = shardpickle.load(url, workers=1)
        assert (found.predict_proba(X) == model.predict_proba(X)).all()
    assert number > 8
    faulty.always_from = None
    found = shardpickle.load(url, workers=1)
    assert (found.predict_proba(X) == other.predict_proba(X)).all()
    faulty.always_from = 1
    with pytest.raises(shardpickle.StorageError, match="Connection reset"):
        shardpickle.load(url)


def test_credentials_that_are_refused_are_not_tried_again(model, monkeypatch):
    faulty = Faulty(
        fsspec.filesystem("memory"), monkeypatch, lambda: PermissionError("Access Denied")
    )
    faulty.always_from = 1
    with pytest.raises(shardpickle.StoragePermissionError, match="credentials"):
        shardpickle.load("memory://nowhere/model")
    assert faulty.calls == 1


class Flaky(http.server.SimpleHTTPRequestHandler):
    """Serves files, every third request with an error or half an answer."""

    requests = itertools.count(1)

    def do_GET(self):
        number = next(self.requests)
        if number % 6 == 0:
            self.send_error(503)
        elif number % 6 == 3:
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            self.wfile.write(b"half")
            self.close_connection = True
        else:
            super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture
def web(tmp_path):
    pytest.importorskip("aiohttp", reason="fsspec speaks HTTP through aiohttp")
    servers = []

    def serve(handler):
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(handler, directory=str(tmp_path))
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("handler", [Quiet, Flaky])
def test_a_web_server(handler, web, model, tmp_path):
    shardpickle.dump(model, tmp_path / "model", shard_size="30kB")
    address = web(handler)
    found = shardpickle.load(f"{address}/model")
    assert (found.predict_proba(X) == model.predict_proba(X)).all()
    lazy = shardpickle.load(f"{address}/model", lazy=True)
    assert (lazy.predict_proba(X) == model.predict_proba(X)).all()
    if handler is Quiet:
        with pytest.raises(shardpickle.ModelNotFoundError):
            shardpickle.load(f"{address}/nothing")
        with pytest.raises(shardpickle.StorageError):
            shardpickle.dump(model, f"{address}/other")


class Elsewhere(Quiet):
    """Sends everything on to another server."""

    target = ""

    def do_GET(self):
        self.send_response(302)
        self.send_header("Location", self.target + self.path)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_HEAD(self):
        self.do_GET()


def test_a_redirect_stays_on_its_host(web, model, tmp_path):
    shardpickle.dump(model, tmp_path / "model")

    class Own(Elsewhere):
        def do_GET(self):
            if self.path.startswith("/old/"):
                self.path = self.path.replace("/old/", "/", 1)
                return super().do_GET()
            return Quiet.do_GET(self)

        def do_HEAD(self):
            self.do_GET()

    shardpickle.load(f"{web(Own)}/old/model")
    Elsewhere.target = web(Quiet)
    with pytest.raises(
        shardpickle.StoragePermissionError, match=f"redirects to {Elsewhere.target}"
    ):
        shardpickle.load(f"{web(Elsewhere)}/model")


class Endless(Quiet):
    """Answers a request for some bytes with more, and says nothing of it."""

    def do_GET(self):
        self.send_response(206)
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(3000):
                self.wfile.write(b" " * 100_000)


def test_a_server_that_sends_more_than_was_asked_for_is_left(web, model, tmp_path, monkeypatch):
    shardpickle.dump(model, tmp_path / "model")
    monkeypatch.setattr(remote, "ATTEMPTS", 1)
    with pytest.raises(shardpickle.StorageError, match="more than the"):
        shardpickle.load(f"{web(Endless)}/model")


class Silent(Quiet):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"{")
        self.wfile.flush()
        over.wait(60)

    def do_HEAD(self):
        self.do_GET()


over = threading.Event()


def test_a_server_that_falls_silent_is_not_waited_for(web, model, monkeypatch):
    monkeypatch.setattr(remote, "ATTEMPTS", 1)
    monkeypatch.setattr(shardpickle.storage.web, "SILENCE", 0.2)
    fsspec.get_filesystem_class("http").clear_instance_cache()  # it has a client with other limits
    try:
        with pytest.raises(shardpickle.StorageError, match=r"[Tt]imeout"):
            shardpickle.load(f"{web(Silent)}/model")
    finally:
        over.set()
        fsspec.get_filesystem_class("http").clear_instance_cache()


@pytest.mark.parametrize(
    ("status", "again"), [(401, False), (418, False), (429, True), (502, True)]
)
def test_only_answers_that_may_change_are_asked_for_again(status, again, web, monkeypatch):
    asked = []

    class Answers(Quiet):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(status)

        def do_HEAD(self):
            self.do_GET()

    monkeypatch.setattr(remote, "ATTEMPTS", 2)
    monkeypatch.setattr(remote, "_FIRST_WAIT", 0.01)
    with pytest.raises(shardpickle.StorageError, match=str(status)):
        shardpickle.load(f"{web(Answers)}/model")
    once = len(asked)
    monkeypatch.setattr(remote, "ATTEMPTS", 1)
    asked.clear()
    with pytest.raises(shardpickle.StorageError):
        shardpickle.load(f"{web(Answers)}/model")
    assert once == len(asked) * (2 if again else 1)


def test_options_are_for_urls(tmp_path):
    with pytest.raises(ValueError, match="for URLs"):
        shardpickle.dump([1], tmp_path / "model", storage_options={"key": "1"})
    with pytest.raises(ValueError, match="for URLs"):
        shardpickle.load(tmp_path / "model", cache_dir=tmp_path)
    with pytest.raises(shardpickle.StorageError, match="Protocol not known: nosuch"):
        shardpickle.load("nosuch://bucket/model")


def test_passwords_are_not_shown():
    with pytest.raises(shardpickle.ShardpickleError) as caught:
        shardpickle.load("memory://me:secret@host/model")
    assert "secret" not in str(caught.value)
    assert "me:***@host/model" in str(caught.value)


# One file ----------------------------------------------------------------------------------------


@pytest.fixture
def packed(model, tmp_path):
    shardpickle.dump(model, tmp_path / "model", shard_size="30kB")
    shardpickle.pack(tmp_path / "model", tmp_path / "model.shpk")
    return tmp_path / "model.shpk"


def test_a_packed_model_is_a_plain_zip_of_the_directory(packed, tmp_path):
    with zipfile.ZipFile(packed) as file:
        assert file.testzip() is None
        assert file.namelist()[0] == "manifest.json"
        assert {each.compress_type for each in file.infolist()} == {zipfile.ZIP_STORED}
        inside = {name: file.read(name) for name in file.namelist()}
    assert inside == files_of(tmp_path / "model")
    shardpickle.pack(tmp_path / "model", tmp_path / "again.shpk")
    assert (tmp_path / "again.shpk").read_bytes() == packed.read_bytes()
    shardpickle.unpack(packed, tmp_path / "unpacked")
    assert files_of(tmp_path / "unpacked") == files_of(tmp_path / "model")


def test_a_packed_model_is_opened_as_it_is(packed, model, tmp_path):
    expected = model.predict_proba(X)
    (tmp_path / "model").rename(tmp_path / "gone")
    assert (shardpickle.load(packed).predict_proba(X) == expected).all()
    lazy = shardpickle.load(packed, lazy=True, memory_limit="10MB")
    assert (lazy.predict_proba(X) == expected).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", shardpickle.LazyReferenceWarning)
        data = pickle.dumps(lazy)
    assert (pickle.loads(data).predict_proba(X) == expected).all()
    assert (shardpickle.predict(packed, X, method="predict_proba", workers=2) == expected).all()
    assert shardpickle.verify(packed, deep=True).ok
    assert shardpickle.inspect(packed).digest == shardpickle.inspect(tmp_path / "gone").digest
    with pytest.raises(shardpickle.StorageError, match="unpack it"):
        shardpickle.dump(model, packed)


def test_a_packed_model_that_was_replaced_is_never_mixed(packed, model, tmp_path):
    lazy = shardpickle.load(packed, lazy=True)
    other = RandomForestClassifier(30, random_state=1).fit(X, LABELS)
    shardpickle.dump(other, tmp_path / "other", shard_size="30kB")
    shardpickle.pack(tmp_path / "other", packed)
    with pytest.raises(shardpickle.ModelReplacedError):
        lazy.predict(X)


@pytest.mark.long
def test_every_cut_and_many_flips_of_a_packed_model_are_told(tmp_path):
    small = RandomForestClassifier(2, max_depth=2, **SEED).fit(X, LABELS)
    shardpickle.dump(small, tmp_path / "model")
    shardpickle.pack(tmp_path / "model", tmp_path / "model.shpk")
    data = (tmp_path / "model.shpk").read_bytes()
    expected = small.predict_proba(X)
    file = tmp_path / "cut.shpk"
    for size in range(0, len(data), 7):
        file.write_bytes(data[:size])
        with pytest.raises((shardpickle.FormatError, shardpickle.StorageError)):
            shardpickle.load(file)
    for at in range(0, len(data), 3):
        file.write_bytes(data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :])
        try:
            found = shardpickle.load(file)
        except (shardpickle.FormatError, shardpickle.StorageError):
            continue
        assert (found.predict_proba(X) == expected).all()  # a date, for example


def test_bytes(model):
    data = shardpickle.dumps(model, shard_size="30kB", metadata={"score": 0.5})
    assert data == shardpickle.dumps(model, shard_size="30kB", metadata={"score": 0.5})
    assert_same(shardpickle.loads(data).predict_proba(X), model.predict_proba(X))
    with pytest.raises(ValueError, match="lazy"):
        shardpickle.loads(data, lazy=True)
    with pytest.raises(shardpickle.NotAModelError):
        shardpickle.loads(pickle.dumps(model))
    with pytest.raises(shardpickle.UntrustedTypeError):
        shardpickle.loads(shardpickle.dumps(os.path.join))


def test_commands(packed, tmp_path):
    assert main(["unpack", str(packed), str(tmp_path / "out")]) == 0
    assert main(["pack", str(tmp_path / "out"), str(tmp_path / "out.shpk")]) == 0
    assert (tmp_path / "out.shpk").read_bytes() == packed.read_bytes()
    assert main(["verify", str(packed)]) == 0
