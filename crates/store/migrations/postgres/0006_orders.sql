-- Orders of node lists, so that a page costs the same wherever it is.
CREATE INDEX node_by_name ON node (name NULLS FIRST, id);
CREATE INDEX node_driver ON node (driver NULLS FIRST, id);
CREATE INDEX node_power_state ON node (power_state NULLS FIRST, id);
CREATE INDEX node_resource_class ON node (resource_class NULLS FIRST, id);
CREATE INDEX node_conductor_group ON node (conductor_group NULLS FIRST, id);
CREATE INDEX node_owner ON node (owner NULLS FIRST, id);
CREATE INDEX node_created_at ON node (created_at NULLS FIRST, id);
CREATE INDEX node_updated_at ON node (updated_at NULLS FIRST, id);
DROP INDEX node_provision_state;
CREATE INDEX node_provision_state ON node (provision_state NULLS FIRST, id);

-- Children only, so that it is not chosen for lists without them.
DROP INDEX node_parent;
CREATE INDEX node_parent ON node (parent_node) WHERE parent_node IS NOT NULL;
