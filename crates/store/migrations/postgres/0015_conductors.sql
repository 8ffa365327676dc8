-- Where a conductor answers other processes' calls, with what it is known by and asked with (JSON); null when it answers none.
ALTER TABLE conductor ADD COLUMN rpc TEXT COLLATE "C";
