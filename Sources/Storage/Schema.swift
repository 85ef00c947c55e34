internal import GRDB

/// One numbered step of the store's schema. Steps are never edited after a release: a change is a new step.
package struct SchemaStep: Sendable {
    package var number: Int
    /// Statements separated by semicolons.
    package var sql: String

    package init(number: Int, sql: String) {
        self.number = number
        self.sql = sql
    }
}

/// The steps from an empty file to the schema that this build reads and writes.
package let schemaSteps: [SchemaStep] = [
    SchemaStep(
        number: 1,
        sql: """
            -- One row each: the epoch, the store's own name, when it was made.
            CREATE TABLE meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;

            -- Names that rows refer to by number: workers, and the runs, stages and verbs of the history.
            CREATE TABLE names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);

            -- The plan is written once as JSON and never changes; the state and the numerics classes (JSON) do.
            CREATE TABLE runs (
                id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, plan TEXT NOT NULL,
                state TEXT NOT NULL, numerics TEXT NOT NULL, submitted_at INTEGER NOT NULL);

            -- The truth that survives the head. `stage` is a position in the plan; `fence` holds 64 bits as a signed number.
            CREATE TABLE tasks (
                run INTEGER NOT NULL, stage INTEGER NOT NULL, block INTEGER NOT NULL,
                state INTEGER NOT NULL, fence INTEGER NOT NULL, worker INTEGER, attempts INTEGER NOT NULL,
                result BLOB, error BLOB,
                PRIMARY KEY (run, stage, block)) WITHOUT ROWID;

            -- Appended only, read whole at start. It has no index by identity on purpose: digests arrive in no order, and an
            -- index over them would touch a page for each row.
            CREATE TABLE cached (id INTEGER PRIMARY KEY, identity BLOB NOT NULL, result BLOB NOT NULL);

            -- Append-only, never replayed. Numbers in run, stage, worker and what are names.id.
            CREATE TABLE history (
                id INTEGER PRIMARY KEY, at INTEGER NOT NULL, cause INTEGER NOT NULL, what INTEGER NOT NULL,
                run INTEGER, stage INTEGER, first_block INTEGER, end_block INTEGER, fence INTEGER, worker INTEGER,
                detail TEXT);
            CREATE INDEX history_by_stage ON history (run, stage);
            CREATE INDEX history_by_cause ON history (cause);

            -- Artifacts below the inline threshold, appended; `key` is the first six bytes of the digest. Digests arrive in no
            -- order, so a batch touches pages all over an index of them: short keys keep it small.
            CREATE TABLE artifacts (id INTEGER PRIMARY KEY, key INTEGER NOT NULL, digest BLOB NOT NULL, bytes BLOB NOT NULL);
            CREATE INDEX artifacts_by_key ON artifacts (key);

            -- What people answered, every answer kept: the last one by sample and person counts.
            CREATE TABLE reviews (
                id INTEGER PRIMARY KEY, run TEXT NOT NULL, stage TEXT NOT NULL, sample TEXT NOT NULL, label TEXT NOT NULL,
                who TEXT NOT NULL, seconds REAL NOT NULL, at INTEGER NOT NULL);
            CREATE INDEX reviews_by_stage ON reviews (run, stage);

            -- Effects on parties that cannot ask again. `key` makes a delivery idempotent.
            CREATE TABLE outbox (
                id INTEGER PRIMARY KEY, target TEXT NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL,
                attempts INTEGER NOT NULL DEFAULT 0, last_error TEXT, created_at INTEGER NOT NULL,
                UNIQUE (target, key));
            """),
    // Positions of samples that every attempt at the block leaves out, because they killed their process. NULL for none.
    SchemaStep(number: 2, sql: "ALTER TABLE tasks ADD COLUMN masked BLOB"),
]

/// "AMAF" in ASCII, kept in the file's header, so that another program's database is not taken for a store.
let applicationID: Int64 = 0x414D_4146

func migrator(_ steps: [SchemaStep]) -> DatabaseMigrator {
    var migrator = DatabaseMigrator()
    for step in steps {
        migrator.registerMigration("\(step.number)", foreignKeyChecks: .immediate) { db in
            try db.execute(sql: step.sql)
        }
    }
    return migrator
}
