"""The methods against a bucket in a folder: snapshot, list, restore, verify, explain, and their failures."""

import os
import pickle
import sqlite3
import subprocess
import sys
import sysconfig
from datetime import datetime, timedelta, timezone

import walrust
from support import PlaceTest, insert
from walrust import (
    ConfigurationError,
    DatabaseError,
    IntegrityError,
    RestoreError,
    StorageError,
    Walrust,
    WalrustError,
)


class BackupsTest(PlaceTest):
    def test_a_snapshot_is_listed_and_restored(self):
        self.create(rows=3)
        snapshot = self.walrust.snapshot(str(self.path))
        self.assertEqual(snapshot["txid"], 1)
        listed = self.walrust.list()
        self.assertEqual(listed["destination"], self.bucket)
        self.assertEqual([database["name"] for database in listed["databases"]], ["app"])
        self.assertEqual(self.walrust.list("app")["databases"], listed["databases"])
        restored = self.walrust.restore("app", self.folder / "restored.db")
        self.assertTrue(restored["restored"])
        self.assertEqual(restored["checks"]["integrity_check"], "ok")
        self.assertEqual(self.rows(self.folder / "restored.db"), 3)
        self.assertEqual(self.walrust.verify()["status"], "ok")
        self.assertEqual(self.walrust.explain(self.path)["problems"], [])

    def test_restores_of_earlier_points(self):
        connection = self.create(rows=1)
        first = self.walrust.snapshot(self.path)
        insert(connection)
        self.walrust.snapshot(self.path)
        target = self.folder / "restored.db"
        time = datetime.strptime(first["time"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
        for point in ("txid:1", time, time.astimezone(timezone(timedelta(hours=5, minutes=30)))):
            self.walrust.restore("app", target, point, force=True)
            self.assertEqual(self.rows(target), 1)
        self.walrust.restore("app", target, force=True)
        self.assertEqual(self.rows(target), 2)
        with self.assertRaisesRegex(ValueError, "time zone"):
            self.walrust.restore("app", target, datetime.now(), force=True)

    def test_nothing_to_restore(self):
        document = self.walrust.restore("app", self.path, if_replica_exists=True)
        self.assertEqual((document["restored"], self.path.exists()), (False, False))

    def assert_fails(self, of_class, exit_code, code, call):
        with self.assertRaises(of_class) as caught:
            call()
        error = caught.exception
        self.assertIs(type(error), of_class)
        self.assertEqual((error.exit, error.code), (exit_code, code), error)
        self.assertTrue(error.message)
        self.assertIn(error.message, str(error))
        return error

    def test_each_failure_has_the_class_of_its_exit_code(self):
        self.create()
        self.walrust.snapshot(self.path)
        restore = self.walrust.restore
        error = self.assert_fails(ConfigurationError, 2, "usage", lambda: restore("app", self.path))
        self.assertIn("force", error.hint)
        with sqlite3.connect(self.folder / "plain.db") as plain:
            plain.execute("CREATE TABLE t (x)")
        plain.close()
        plain_path = self.folder / "plain.db"
        self.assert_fails(DatabaseError, 3, "not-wal", lambda: self.walrust.snapshot(plain_path))
        self.assert_fails(RestoreError, 6, "restore", lambda: restore("none", self.folder / "r.db"))
        keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
        unreachable = Walrust("s3://bucket", endpoint="http://127.0.0.1:1", env={**os.environ, **keys})
        self.assert_fails(StorageError, 4, "storage", lambda: unreachable.list(timeout=timedelta(seconds=1)))
        [snapshot] = (self.folder / "bucket" / "app" / "ltx" / "9").glob("*.ltx")
        snapshot.write_bytes(snapshot.read_bytes()[:-1] + b"\0")
        target = self.folder / "restored.db"
        with self.assertRaises(IntegrityError) as caught:
            self.walrust.restore("app", target)
        self.assertEqual((caught.exception.exit, target.exists()), (5, False))
        self.assertEqual(self.walrust.verify("app")["status"], "errors")

    def test_a_pickled_error_comes_back_whole(self):
        (self.folder / "bucket").mkdir()
        error = self.assert_fails(RestoreError, 6, "restore", lambda: self.walrust.list("none"))
        copy = pickle.loads(pickle.dumps(error))
        self.assertIs(type(copy), RestoreError)
        for name in ("message", "code", "exit", "hint", "context"):
            self.assertEqual(getattr(copy, name), getattr(error, name))

    def test_a_configuration_file_and_the_environment(self):
        self.create()
        (self.folder / "other").mkdir()
        other = f"file://{self.folder}/other"
        config = self.folder / "walrust.toml"
        config.write_text(f'[s3]\nbucket = "{other}"\n[[databases]]\npath = "app.db"\nname = "renamed"\n')
        configured = Walrust(config=config)
        self.assertEqual(configured.explain()["databases"][0]["name"], "renamed")
        self.assertEqual(configured.list()["destination"], other)
        environment = {**os.environ, "WALRUST_S3_BUCKET": other}
        self.assertEqual(Walrust(env=environment).list()["destination"], other)
        (self.folder / "bucket").mkdir()
        self.assertEqual(Walrust(self.bucket, env=environment).list()["destination"], self.bucket)

    def test_no_configuration_file_is_found_by_itself(self):
        (self.folder / "bucket").mkdir()
        (self.folder / "walrust.toml").write_text("[s3]\nbucket = 7\n")
        script = "import sys, walrust; print(walrust.Walrust(sys.argv[1]).list()['destination'])"
        done = self.application(script, self.bucket, cwd=self.folder)
        output, errors = done.communicate()
        self.assertEqual((output, errors), (f"{self.bucket}\n", ""))


class InstalledTest(PlaceTest):
    def test_the_program_is_on_path_and_runs_as_a_module(self):
        script = os.path.join(sysconfig.get_path("scripts"), "walrust")
        for command in ([script], [sys.executable, "-m", "walrust"]):
            output = subprocess.check_output([*command, "--version"], text=True)
            self.assertTrue(output.startswith(f"walrust {walrust.__version__} ("), output)

    def test_an_import_starts_nothing_and_handles_no_signal(self):
        script = """
            import signal, sys, threading
            before = [signal.getsignal(one) for one in sorted(signal.valid_signals())]
            import walrust
            walrust.Walrust("file:///nowhere")
            after = [signal.getsignal(one) for one in sorted(signal.valid_signals())]
            print(before == after, threading.active_count(), walrust.__all__ != [])
        """
        output, errors = self.application(script).communicate()
        self.assertEqual((output, errors), ("True 1 True\n", ""))

    def test_an_unknown_attribute(self):
        with self.assertRaises(AttributeError):
            walrust.nothing

    def test_every_class_of_errors_is_a_walrust_error(self):
        classes = (ConfigurationError, DatabaseError, StorageError, IntegrityError, RestoreError)
        self.assertTrue(all(issubclass(one, WalrustError) for one in classes))
