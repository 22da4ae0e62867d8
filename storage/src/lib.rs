//! Files, segments, pages, the write-ahead log and the manifest of lightning_db.
