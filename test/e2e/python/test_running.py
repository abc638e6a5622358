"""A running watch or replica beside an application: its start, its end, and the end of the application."""

import multiprocessing
import os
import signal
import threading
import unittest

from support import LIMIT, PlaceTest, eventually, insert, is_running
from walrust import ConfigurationError, DatabaseError, Walrust

#: An application that watches its database, commits when it is told to, and waits for its end.
APPLICATION = """
    import sqlite3, sys
    from walrust import Walrust

    path, bucket = sys.argv[1:3]
    connection = sqlite3.connect(path)
    with Walrust(bucket).watch(path, wal_sync_interval=3600) as watching:
        print(watching.pid, flush=True)
        for event in watching:
            if event["event"] == "uploaded":
                break
        # Not due for an hour: only the end of the watch uploads it.
        with connection:
            connection.execute("INSERT INTO notes (text) VALUES ('the last')")
        print("committed", flush=True)
        for event in watching:
            pass
"""


class WatchTest(PlaceTest):
    def test_leaving_the_block_uploads_the_last_commits(self):
        connection = self.create()
        with self.walrust.watch(self.path) as watching:
            self.assertTrue(is_running(watching.pid))
            self.assertFalse(watching.ended)
            insert(connection, 5)
        self.assertTrue(watching.ended)
        self.assertFalse(is_running(watching.pid))
        self.assertEqual(self.restored_rows(), 6)
        watching.close()
        self.assertTrue(watching.wait())

    def test_events_end_with_the_watch(self):
        self.create()
        with self.walrust.watch(self.path, once=True) as watching:
            kinds = [event["event"] for event in watching]
        self.assertEqual(kinds[:2], ["started", "watching"])
        self.assertIn("uploaded", kinds)

    def test_a_start_without_a_database_fails(self):
        with self.assertRaises(DatabaseError):
            # On a busy machine, the start returns after 5 s, before the failure.
            self.walrust.watch(self.folder / "absent.db").wait(LIMIT)
        with self.assertRaises(ConfigurationError):
            self.walrust.watch()

    def test_an_exception_of_the_block_is_not_hidden(self):
        connection = self.create()
        with self.assertRaisesRegex(KeyError, "mine"):
            with self.walrust.watch(self.path) as watching:
                insert(connection)
                raise KeyError("mine")
        self.assertFalse(is_running(watching.pid))
        self.assertEqual(self.restored_rows(), 2)

    def test_kill_ends_a_watch_at_once_and_the_next_one_continues(self):
        connection = self.create()
        with self.walrust.watch(self.path) as watching:
            watching.kill()
        self.assertFalse(is_running(watching.pid))
        insert(connection)
        with self.walrust.watch(self.path):
            pass
        self.assertEqual(self.restored_rows(), 2)

    def test_a_second_watch_waits_until_the_first_has_ended(self):
        self.create()
        first = self.walrust.watch(self.path)
        self.addCleanup(first.close)
        started = []
        thread = threading.Thread(target=lambda: started.append(self.walrust.watch(self.path)))
        with self.assertLogs("walrust", "DEBUG") as logs:
            thread.start()
            # The second one has tried, and failed, once.
            message = "another walrust has it"
            eventually(message, lambda: any(message in line for line in logs.output))
        first.close()
        thread.join()
        self.assertEqual(len(started), 1)
        started[0].close()

    def test_a_watch_serves_no_port_unless_it_is_asked_to(self):
        self.create()
        with self.walrust.watch(self.path) as first, self.walrust.watch(self.other()) as second:
            self.assertNotEqual(first.pid, second.pid)
        with self.assertLogs("walrust", "INFO") as logs:
            self.walrust.watch(self.path, metrics_port=0).close()
        self.assertTrue(any("/metrics" in line for line in logs.output), logs.output)

    def other(self):
        self.create(self.folder / "other.db")
        return self.folder / "other.db"

    def test_the_log_goes_to_the_logger(self):
        self.create()
        with self.assertLogs("walrust", "INFO") as logs:
            self.walrust.watch(self.path).close()
        self.assertTrue(any(record.walrust["level"] == "info" for record in logs.records))

    def test_a_replica_follows(self):
        connection = self.create()
        replica_path = self.folder / "replica.db"
        with self.walrust.watch(self.path, wal_sync_interval=0.05) as watching:
            # Without a first snapshot there is nothing to follow.
            next(event for event in watching if event["event"] == "uploaded")
            source = f"{self.bucket}/app"
            with Walrust("file:///elsewhere").replicate(source, replica_path, interval="50ms"):
                insert(connection)
                eventually("the row in the replica", lambda: self.rows(replica_path) == 2)


class ApplicationTest(PlaceTest):
    """The end of the application ends walrust, and loses no commit."""

    def start(self, **options):
        self.create(rows=1)
        application = self.application(APPLICATION, self.path, self.bucket, **options)
        pid = application.stdout.readline()
        if not pid or application.stdout.readline() != "committed\n":
            self.fail(application.communicate())
        return application, int(pid)

    def test_a_killed_application_loses_no_commit(self):
        application, pid = self.start()
        application.kill()
        application.wait()
        eventually("the end of walrust", lambda: not is_running(pid))
        self.assertEqual(self.restored_rows(), 2)

    def test_ctrl_c_in_a_terminal_loses_no_commit(self):
        application, pid = self.start(start_new_session=True)
        # As a terminal does: to all processes.
        os.killpg(application.pid, signal.SIGINT)
        _, errors = application.communicate()
        self.assertEqual(application.returncode, -signal.SIGINT)
        self.assertIn("KeyboardInterrupt", errors)
        self.assertFalse(is_running(pid))
        self.assertEqual(self.restored_rows(), 2)

    def test_a_signal_to_walrust_alone_does_not_end_it(self):
        application, pid = self.start()
        for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(pid, one)
        self.assertTrue(is_running(pid))
        application.kill()
        application.wait()
        eventually("the end of walrust", lambda: not is_running(pid))
        self.assertEqual(self.restored_rows(), 2)

    def test_a_forked_process_holds_no_watch_open_and_closes_none(self):
        connection = self.create()
        context = multiprocessing.get_context("fork")
        closed, done = context.Event(), context.Event()

        def work(watching):
            # Its copy of the block ends here.
            with watching:
                pass
            closed.set()
            done.wait()

        with self.walrust.watch(self.path) as watching:
            worker = context.Process(target=work, args=(watching,), daemon=True)
            worker.start()
            self.addCleanup(worker.kill)
            self.assertTrue(closed.wait(30))
            self.assertTrue(is_running(watching.pid))
            insert(connection)
        self.assertTrue(worker.is_alive())
        done.set()
        worker.join()
        self.assertEqual(self.restored_rows(), 2)


if __name__ == "__main__":
    unittest.main()
