-- Who asked for an operation: shown in the history of what it does.
ALTER TABLE operation ADD COLUMN user_id TEXT;
ALTER TABLE operation ADD COLUMN project TEXT;
