"""Every document equals its typed dictionary: the same keys at each depth, and values of the same types."""

import unittest

from support import PlaceTest, differences, event_type, insert
from walrust import documents


class DocumentsTest(PlaceTest):
    def assert_typed(self, document, annotation):
        self.assertEqual(differences(document, annotation, annotation.__name__), [])

    def test_documents_of_a_sound_bucket(self):
        connection = self.create()
        self.assert_typed(self.walrust.snapshot(self.path), documents.SnapshotDocument)
        insert(connection)
        self.walrust.snapshot(self.path)
        self.assert_typed(self.walrust.list(), documents.ListDocument)
        self.assert_typed(self.walrust.verify("app", restore=True), documents.VerifyDocument)
        self.assert_typed(self.walrust.explain(self.path), documents.ExplainDocument)
        self.assert_typed(self.walrust.explain(self.folder / "absent.db"), documents.ExplainDocument)
        target = self.folder / "restored.db"
        self.assert_typed(self.walrust.restore("app", target), documents.RestoreDocument)
        self.assert_typed(self.walrust.restore("app", target, force=True), documents.RestoreDocument)
        nothing = self.walrust.restore("app", target, if_db_not_exists=True)
        self.assert_typed(nothing, documents.NothingRestoredDocument)

    def test_documents_of_a_damaged_bucket(self):
        self.create()
        self.walrust.snapshot(self.path)
        (self.folder / "bucket" / "app" / "manifest.json").write_text("{")
        warned = self.walrust.verify()
        self.assertEqual(warned["status"], "warnings")
        self.assert_typed(warned, documents.VerifyDocument)
        fixed = self.walrust.verify(fix=True)
        self.assertEqual([repair["code"] for repair in fixed["fixed"]], ["manifest-unreadable"])
        self.assert_typed(fixed, documents.VerifyDocument)

    def test_events(self):
        connection = self.create()
        seen = set()
        with self.walrust.watch(self.path, wal_sync_interval=0.05, checkpoint_interval=0.1) as watching:
            insert(connection)
            for event in watching:
                self.assert_typed(event, event_type(documents.WatchDocument, event))
                seen.add((event["event"], event.get("kind")))
                if ("uploaded", "increment") in seen and ("checkpointed", None) in seen:
                    break
        self.assertLessEqual({("started", None), ("watching", None), ("uploaded", "snapshot")}, seen)
        with self.walrust.replicate("app", self.folder / "replica.db", once=True) as replica:
            events = list(replica)
        for event in events:
            self.assert_typed(event, event_type(documents.ReplicaDocument, event))
        self.assertEqual({event["event"] for event in events}, {"bootstrapped", "following", "current"})


class DifferencesTest(unittest.TestCase):
    """The comparison itself can fail."""

    def test_a_difference_of_each_kind(self):
        point = {"txid": 1, "time": None}
        self.assertEqual(differences(point, documents.ListedPoint), [])
        for wrong in (
            {"txid": 1},
            {**point, "more": 1},
            {**point, "txid": "1"},
            {**point, "txid": 1.5},
            {**point, "txid": True},
            {**point, "time": 1},
            [],
        ):
            self.assertNotEqual(differences(wrong, documents.ListedPoint), [], wrong)
        self.assertNotEqual(differences({"event": "droped", "count": 1}, documents.DroppedEvents), [])
