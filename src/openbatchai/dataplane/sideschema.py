"""The side store's tables, one script per version (`PRAGMA user_version`).

Append scripts, never change one: homes that exist have run it. A table keyed by service, container and
path also goes into TABLES_OF_ITEMS, so that its rows go with their item and with their container, or into
TABLES_OF_CONTAINERS only.
"""

# The first version had no number of its own, hence IF NOT EXISTS.
_FIRST = """
CREATE TABLE IF NOT EXISTS item (
    service TEXT NOT NULL, container TEXT NOT NULL, path TEXT NOT NULL, pending INTEGER NOT NULL,
    ino INTEGER NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    document TEXT NOT NULL, blocks TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (service, container, path, pending)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS container (
    service TEXT NOT NULL, name TEXT NOT NULL, document TEXT NOT NULL, PRIMARY KEY (service, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS service_properties (
    service TEXT PRIMARY KEY, document TEXT NOT NULL
) WITHOUT ROWID;
"""

# Two slots in turn instead of a confirmed and a pending record; a pending one counted only with its file.
_SLOTS = """
ALTER TABLE item RENAME COLUMN pending TO slot;
ALTER TABLE item ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;
UPDATE item SET turn = 1 - slot;
"""

# Security descriptors of files, and renames in shares that are under way.
_FILES = """
CREATE TABLE permission (
    key TEXT PRIMARY KEY, text TEXT NOT NULL, is_binary INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE move (
    id INTEGER PRIMARY KEY, container TEXT NOT NULL, source TEXT NOT NULL, target TEXT NOT NULL,
    ino INTEGER NOT NULL
);
"""

# Snapshots of shares: their settings, and the records of what is in them.
_SHARE_SNAPSHOTS = """
CREATE TABLE share_snapshot (
    service TEXT NOT NULL, name TEXT NOT NULL, snapshot TEXT NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY (service, name, snapshot)
) WITHOUT ROWID;
CREATE TABLE share_snapshot_item (
    service TEXT NOT NULL, container TEXT NOT NULL, snapshot TEXT NOT NULL, path TEXT NOT NULL,
    ino INTEGER NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY (service, container, snapshot, path)
) WITHOUT ROWID;
CREATE INDEX share_snapshot_ino ON share_snapshot_item (service, container, snapshot, ino);
"""

# Snapshots of blobs (`time` names them) and softly deleted blobs (`time` empty); `file` holds the bytes.
_KEPT = """
CREATE TABLE kept (
    service TEXT NOT NULL, container TEXT NOT NULL, path TEXT NOT NULL, time TEXT NOT NULL,
    ready INTEGER NOT NULL, file TEXT NOT NULL, deleted_ns INTEGER NOT NULL, expires_ns INTEGER NOT NULL,
    ino INTEGER NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL,
    document TEXT NOT NULL, blocks TEXT NOT NULL,
    PRIMARY KEY (service, container, path, time)
) WITHOUT ROWID;
CREATE INDEX kept_expiry ON kept (expires_ns) WHERE expires_ns > 0;
CREATE INDEX kept_unready ON kept (ready) WHERE ready = 0;
"""

# A directory may be renamed over a file, which leaves the directory's former name in the journal's care.
_REPLACED = "ALTER TABLE move ADD COLUMN replaced INTEGER NOT NULL DEFAULT 0"

# Blobs that may have tags are searched for by them; a search that reads every row keeps all others waiting.
HAS_TAGS = "instr(document, '\"tags\":') > 0"
_TAGGED = f"CREATE INDEX item_tagged ON item (service, container, path) WHERE {HAS_TAGS}"

# Containers and shares that were deleted and can come back. Their rows in the other tables have the service
# "blob~VERSION" or "file~VERSION" meanwhile.
_RETAINED = """
CREATE TABLE retained (
    service TEXT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL, state TEXT NOT NULL,
    target TEXT NOT NULL, deleted_ns INTEGER NOT NULL, expires_ns INTEGER NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY (service, name, version)
) WITHOUT ROWID;
"""
# In queries that name no service: what is there, not what was deleted.
OF_SERVICES = "service IN ('blob', 'file')"

MIGRATIONS = (_FIRST, _SLOTS, _FILES, _KEPT, _SHARE_SNAPSHOTS, _REPLACED, _TAGGED, _RETAINED)
TABLES_OF_ITEMS = ("item",)
# What is kept of a blob stays when the blob goes.
TABLES_OF_CONTAINERS = (*TABLES_OF_ITEMS, "kept")
