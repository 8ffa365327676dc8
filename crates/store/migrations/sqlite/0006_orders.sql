-- Orders of node lists, so that a page costs the same wherever it is. The row id ends every index of SQLite.
CREATE INDEX node_by_name ON node (name);
CREATE INDEX node_driver ON node (driver);
CREATE INDEX node_power_state ON node (power_state);
CREATE INDEX node_resource_class ON node (resource_class);
CREATE INDEX node_conductor_group ON node (conductor_group);
CREATE INDEX node_owner ON node (owner);
CREATE INDEX node_created_at ON node (created_at);
CREATE INDEX node_updated_at ON node (updated_at);

-- INTEGER, so that a document is found by its row id and not through one more index.
CREATE TABLE node_document_by_row_id (
    id INTEGER PRIMARY KEY REFERENCES node (id) ON DELETE CASCADE,
    document BLOB NOT NULL
);
INSERT INTO node_document_by_row_id (id, document) SELECT id, document FROM node_document;
DROP TABLE node_document;
ALTER TABLE node_document_by_row_id RENAME TO node_document;

-- Children only, so that it is not chosen for lists without them.
DROP INDEX node_parent;
CREATE INDEX node_parent ON node (parent_node) WHERE parent_node IS NOT NULL;
