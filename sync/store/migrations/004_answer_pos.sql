-- Finds the oldest answers, so that they can be forgotten.
CREATE INDEX answer_pos ON answer (pos);
