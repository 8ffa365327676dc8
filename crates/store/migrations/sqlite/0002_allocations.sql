-- Allocations, deploy templates, runbooks and inspection rules.

-- `attempt` and `due_at` belong to the matching: how often every candidate was locked, and when to look again
-- (null: now). `traits` and `candidate_nodes` are lists.
CREATE TABLE allocation (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL,
    name TEXT,
    node TEXT REFERENCES node (uuid) ON DELETE CASCADE,
    state TEXT NOT NULL,
    owner TEXT,
    last_error TEXT,
    resource_class TEXT,
    traits TEXT NOT NULL,
    candidate_nodes TEXT NOT NULL,
    extra TEXT NOT NULL,
    attempt BIGINT NOT NULL DEFAULT 0,
    due_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT
);
CREATE UNIQUE INDEX allocation_uuid_key ON allocation (uuid);
CREATE UNIQUE INDEX allocation_name_key ON allocation (name);
CREATE INDEX allocation_node ON allocation (node);
CREATE INDEX allocation_open ON allocation (id) WHERE state = 'allocating';

-- Nodes that an allocation may get.
CREATE INDEX node_candidate ON node (resource_class) WHERE provision_state = 'available' AND instance_uuid IS NULL;

CREATE TABLE deploy_template (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL,
    name TEXT NOT NULL,
    extra TEXT NOT NULL,
    steps TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT
);
CREATE UNIQUE INDEX deploy_template_uuid_key ON deploy_template (uuid);
CREATE UNIQUE INDEX deploy_template_name_key ON deploy_template (name);

CREATE TABLE runbook (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    public BOOLEAN NOT NULL,
    owner TEXT,
    disable_ramdisk BOOLEAN NOT NULL,
    extra TEXT NOT NULL,
    steps TEXT NOT NULL,
    traits TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT
);
CREATE UNIQUE INDEX runbook_uuid_key ON runbook (uuid);
CREATE UNIQUE INDEX runbook_name_key ON runbook (name);

CREATE TABLE inspection_rule (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL,
    priority BIGINT NOT NULL,
    description TEXT,
    sensitive BOOLEAN NOT NULL,
    phase TEXT,
    conditions TEXT NOT NULL,
    actions TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT
);
CREATE UNIQUE INDEX inspection_rule_uuid_key ON inspection_rule (uuid);
