"""The child process, played by programs that fail, flood, hang or say nothing."""

import gc
import os
import pathlib
import signal
import warnings
import threading
from datetime import timedelta

from support import PlaceTest, eventually, is_running
from walrust import ConfigurationError, IntegrityError, StorageError, Walrust, WalrustError
from walrust._process import ChildProcess


class WordsTest(PlaceTest):
    """The command line that a call makes."""

    def words(self, call, **options):
        program = self.program("""
            say({"verb": verb, "words": words, "owner": owner, "configuration": configuration})
        """)
        return call(Walrust(self.bucket, binary=program, **options))

    def own(self, document):
        """The words behind those that every call has."""
        fixed = ["--json", "--log-format=json", "--log-level=warn", f"--bucket={self.bucket}"]
        self.assertEqual(document["words"][:4], fixed)
        return document["words"][4:]

    def test_the_child_is_owned_and_gets_no_configuration(self):
        document = self.words(lambda walrust: walrust.list())
        self.assertEqual(document["owner"], ["__owned-by", str(os.getpid())])
        self.assertEqual((document["verb"], document["configuration"]), ("list", '""\n'))

    def test_options_of_each_kind(self):
        document = self.words(
            lambda walrust: walrust.explain(
                "-a.db",
                pathlib.Path("b.db"),
                wal_sync_interval=0.000001,
                snapshot_interval=timedelta(minutes=10),
                base_delay_ms=timedelta(seconds=1.5),
                compact_age="24h",
                cache_max_size=10**15,
                max_changes=None,
                on_startup=False,
                no_cache=True,
                state_dir=pathlib.Path("state"),
            )
        )
        self.assertEqual(
            self.own(document),
            [
                "--wal-sync-interval=0.000001",
                "--snapshot-interval=600",
                "--base-delay-ms=1500",
                "--compact-age=24h",
                "--cache-max-size=1000000000000000",
                "--on-startup=false",
                "--no-cache=true",
                "--state-dir=state",
                "--",
                "-a.db",
                "b.db",
            ],
        )

    def test_the_words_of_verify_and_restore(self):
        cases = [
            (lambda walrust: walrust.verify(), ["--all=true", "--"]),
            (lambda walrust: walrust.verify("a", read_data=True), ["--read-data", "--", "a"]),
            (lambda walrust: walrust.verify("a", read_data=5), ["--read-data=5", "--", "a"]),
            (lambda walrust: walrust.verify("a", read_data=False), ["--", "a"]),
            (lambda walrust: walrust.restore("a", "b.db"), ["--output=b.db", "--", "a"]),
            (
                lambda walrust: walrust.restore("a", "b.db", "-2h", True, dry_run=True),
                ["--output=b.db", "--point-in-time=-2h", "--force=true", "--dry-run=true", "--", "a"],
            ),
        ]
        for call, words in cases:
            self.assertEqual(self.own(self.words(call)), words)

    def test_an_option_that_may_be_given_several_times(self):
        for given, words in [
            (["http://a", "http://b"], ["--push-to=http://a", "--push-to=http://b"]),
            ("http://a", ["--push-to=http://a"]),
        ]:
            with self.words(lambda walrust: walrust.watch("a.db", push_to=given)) as watching:
                [document] = list(watching)
            self.assertEqual(self.own(document), [*words, "--no-metrics=true", "--", "a.db"])

    def test_the_words_of_the_class(self):
        document = self.words(lambda walrust: walrust.list("a"), endpoint="http://e", config="c.toml")
        self.assertEqual(self.own(document), ["--endpoint=http://e", "--config=c.toml", "--", "a"])

    def test_options_that_do_not_exist_or_have_a_wrong_type(self):
        walrust = Walrust(self.bucket, binary="/nowhere")
        mean = "snapshot_intervall.*Did you mean snapshot_interval"
        for message, call in [
            (mean, lambda: walrust.watch("a", snapshot_intervall=1)),
            ("unexpected keyword argument 'json'", lambda: walrust.list(json=False)),
            ("unexpected keyword argument 'exec'", lambda: walrust.watch("a", exec="rm")),
            ("no_cache is 1, expected True or False", lambda: walrust.watch("a", no_cache=1)),
            ("max_changes is 1.5, expected a whole number", lambda: walrust.watch("a", max_changes=1.5)),
            ("wal_sync_interval is '1s'", lambda: walrust.watch("a", wal_sync_interval="1s")),
            ("max_changes is True", lambda: walrust.watch("a", max_changes=True)),
            ("point_in_time is 41", lambda: walrust.restore("a", "b", 41)),
            (r"list\(\): 1 is no text", lambda: walrust.list(1)),
            ("bucket is 1, expected a text", lambda: Walrust(1, binary="/nowhere").list()),
            ("unexpected keyword argument 'bucket'", lambda: walrust.list(bucket="s3://other")),
            ("unexpected keyword argument 'output'", lambda: walrust.restore("a", "b", output="c")),
        ]:
            with self.assertRaisesRegex(TypeError, message):
                call()


class ProcessTest(PlaceTest):
    def using(self, source):
        return Walrust(self.bucket, binary=self.program(source))

    def test_a_flood_on_both_pipes_ends(self):
        walrust = self.using("""
            for _ in range(200):
                sys.stderr.write("x" * 50_000 + "\\n")
                sys.stdout.write("y" * 50_000 + "\\n")
            say({"long": "z" * 5_000_000})
        """)
        self.assertEqual(len(walrust.list()["long"]), 5_000_000)

    def test_a_printed_error(self):
        walrust = self.using("""
            error = {"code": "new-code", "exit": 5, "message": "m", "hint": None, "context": {"key": "k"}}
            say({"error": error})
            sys.exit(5)
        """)
        with self.assertRaises(IntegrityError) as caught:
            walrust.list()
        error = caught.exception
        self.assertEqual((error.code, str(error), error.hint), ("new-code", "m", None))
        self.assertEqual(error.context, {"key": "k"})

    def test_a_child_that_ends_without_a_document(self):
        with self.assertRaises(StorageError) as caught:
            self.using("sys.stderr.write('one\\ntwo\\n'); sys.exit(4)").list()
        message = "walrust list ended with exit code 4; the log ends with: two"
        self.assertEqual(caught.exception.message, message)
        self.assertEqual(caught.exception.context, {"log": "one\ntwo"})
        with self.assertRaisesRegex(WalrustError, "walrust list was ended by signal 9") as caught:
            self.using("os.kill(os.getpid(), 9)").list()
        self.assertEqual((caught.exception.code, caught.exception.exit), ("internal", 1))
        with self.assertRaisesRegex(WalrustError, "ended with exit code 0"):
            self.using("print('no document')").list()

    def test_a_program_that_cannot_be_started(self):
        with self.assertRaisesRegex(ConfigurationError, "Cannot start /nowhere/walrust"):
            Walrust(self.bucket, binary="/nowhere/walrust").list()

    def interrupt_when(self, path):
        def interrupt():
            eventually("the start", path.exists)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        self.addCleanup(thread.join)

    def test_an_interrupted_call_stops_its_child_and_waits_for_its_end(self):
        mark = self.folder / "pid"
        source = f"""
            with open({str(mark)!r} + ".new", "w") as file:
                file.write(str(os.getpid()))
            os.rename({str(mark)!r} + ".new", {str(mark)!r})
            wait()
            # More than a pipe holds.
            print("x" * 1_000_000)
        """
        walrust = self.using(source)
        self.interrupt_when(mark)
        with self.assertRaises(KeyboardInterrupt):
            walrust.list()
        self.assertFalse(is_running(int(mark.read_text())))

    def test_an_interrupted_start_ends_its_child(self):
        mark = self.folder / "pid"
        walrust = self.using(f"open({str(mark)!r}, 'w').write('1'); wait()")
        self.interrupt_when(mark)
        with self.assertRaises(KeyboardInterrupt):
            walrust.watch("app.db")
        names = lambda: [thread.name for thread in threading.enumerate() if "walrust" in thread.name]
        eventually("the end of the threads", lambda: names() == [])

    def test_a_child_that_nobody_holds_ends(self):
        mark = self.folder / "ended"
        program = self.program(f"wait(); open({str(mark)!r}, 'w').close()")
        # As an exception between the start of a child and the call that would wait for it.
        with warnings.catch_warnings():
            # subprocess warns of a child that still runs.
            warnings.simplefilter("ignore", ResourceWarning)
            ChildProcess(str(program), "list", [], os.environ)
            gc.collect()
        eventually("the end of the child", mark.exists)

    def test_events_that_nobody_reads_are_counted_and_dropped(self):
        walrust = self.using("""
            say({"event": "started", "databases": 0})
            for number in range(1500):
                say({"event": "uploaded", "number": number})
        """)
        with walrust.watch() as watching:
            watching.wait()
            first, *events = list(watching)
        self.assertEqual(first, {"event": "dropped", "count": 501})
        self.assertEqual([event["number"] for event in events], list(range(500, 1500)))

    def test_a_failure_is_raised_to_one_reader(self):
        source = """
            say({"event": "started", "databases": 0})
            say({"error": {"code": "storage", "exit": 4, "message": "gone", "hint": "h", "context": {}}})
            sys.exit(4)
        """
        program = self.gated(source)
        watching = Walrust(self.bucket, binary=program).watch()
        self.open_gate()
        with self.assertRaisesRegex(StorageError, "gone"):
            for event in watching:
                self.assertEqual(event["event"], "started")
        watching.close()
        self.assertEqual(list(watching), [])

    def gated(self, source):
        """A program that goes on behind its first event when the test opens the gate."""
        gate = self.folder / "gate"
        lines = source.split("\n")
        index = next(index for index, line in enumerate(lines) if "say" in line)
        indent = lines[index][: len(lines[index]) - len(lines[index].lstrip())]
        lines.insert(index + 1, f"{indent}while not os.path.exists({str(gate)!r}): time.sleep(0.01)")
        return self.program("\n".join(lines))

    def open_gate(self):
        (self.folder / "gate").touch()

    def test_leaving_the_block_raises_a_failure_that_nobody_read(self):
        program = self.gated("""
            say({"event": "started", "databases": 0})
            sys.exit(1)
        """)
        with self.assertRaisesRegex(WalrustError, "walrust watch ended with exit code 1"):
            with Walrust(self.bucket, binary=program).watch() as watching:
                self.open_gate()
                eventually("the end", lambda: watching.ended)

    def test_a_line_that_is_no_event(self):
        program = self.gated("""
            say({"event": "started", "databases": 0})
            print("no event", flush=True)
            wait()
        """)
        watching = Walrust(self.bucket, binary=program).watch()
        self.open_gate()
        with self.assertRaisesRegex(WalrustError, "a line that is no event"):
            list(watching)

    def test_a_wait_has_a_limit(self):
        walrust = self.using("""
            say({"event": "started", "databases": 0})
            wait()
        """)
        with walrust.watch() as watching:
            self.assertFalse(watching.wait(0))
        self.assertTrue(watching.wait(0))
