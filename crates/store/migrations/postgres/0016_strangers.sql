-- Who asked for a boot and is no port of any node: for the explanation of a boot that never came.
CREATE TABLE stranger (
    mac TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    text TEXT COLLATE "C" NOT NULL,
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    count BIGINT NOT NULL
);
CREATE INDEX stranger_last_at ON stranger (last_at);
