-- Keys, restores, and what makes an agent known again after one.

-- Names of the keys that secrets of nodes may be encrypted under.
CREATE TABLE secret_key (
    key_id TEXT PRIMARY KEY NOT NULL,
    created_at BIGINT NOT NULL
);

-- Every restore of this database from a backup.
CREATE TABLE restore (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    backed_up_at BIGINT NOT NULL,
    restored_at BIGINT NOT NULL
);

-- What the token of the operation's agents is made from, so that a backup of any moment has it.
ALTER TABLE operation ADD COLUMN agent_seed TEXT;
-- The operation came from a backup and has not been looked at since.
ALTER TABLE operation ADD COLUMN restored_at BIGINT;
