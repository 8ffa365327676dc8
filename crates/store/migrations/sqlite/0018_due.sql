-- What is due is asked for after every phase: each kind has an index, so that what only waits costs nothing.
CREATE INDEX operation_ready ON operation (attempt) WHERE status = 'ready';
CREATE INDEX operation_wake ON operation (wake_at) WHERE status = 'waiting';
CREATE INDEX operation_deadline ON operation (deadline_at) WHERE status = 'waiting';
CREATE INDEX operation_running ON operation (owner) WHERE status = 'running';
-- Limits count the open operations of some flows.
CREATE INDEX operation_flow ON operation (flow) WHERE status IN ('ready', 'running', 'waiting');
