-- Every statement of the control schema, by name. The states are drawn in hpo/records.py.

-- name: insert_study
INSERT INTO hpo.study (name, phase, spec, fingerprint, prepared, cap, state)
VALUES (:name, :phase, CAST(:spec AS jsonb), :fingerprint, CAST(:prepared AS jsonb), :cap, 'running')

-- name: study
SELECT name, phase, spec, fingerprint, prepared, cap, state, reason, evidence, convergence_off
FROM hpo.study WHERE name = :name

-- name: study_names
SELECT name FROM hpo.study ORDER BY created_at, name

-- name: open_studies
-- Fairly: the study that has waited longest for a worker comes first.
SELECT s.name FROM hpo.study s
WHERE s.state = 'running' AND (CAST(:only AS text) IS NULL OR s.name = :only)
ORDER BY (SELECT max(t.started_at) FROM hpo.trial t WHERE t.study = s.name) NULLS FIRST, s.name

-- name: change_state
-- Guarded: only the first of several deciders changes anything.
UPDATE hpo.study
SET state = :state, reason = :reason, evidence = CAST(:evidence AS jsonb), changed_at = clock_timestamp()
WHERE name = :name AND state = 'running'
RETURNING name

-- name: resume_study
UPDATE hpo.study
SET state = 'running', reason = :reason, evidence = '{}', cap = :cap, spec = CAST(:spec AS jsonb),
    fingerprint = :fingerprint, convergence_off = :convergence_off, changed_at = clock_timestamp()
WHERE name = :name
RETURNING name

-- name: insert_trial
-- A slot has one trial a turn, however many processes try.
INSERT INTO hpo.trial (study, number, slot, turn, attempt, origin, design_id, seed, params, attributes)
VALUES (:study, :number, :slot, :turn, :attempt, :origin, :design_id, :seed, CAST(:params AS jsonb),
        CAST(:attributes AS jsonb))
ON CONFLICT DO NOTHING
RETURNING number

-- name: trials
SELECT number, slot, turn, attempt, origin, params, seed, state, design_id, worker, cause, message, score, attributes,
       EXTRACT(EPOCH FROM ended_at - started_at)::float AS seconds
FROM hpo.trial WHERE study = :study ORDER BY number

-- name: trial
SELECT number, slot, turn, attempt, origin, params, seed, state, design_id, worker, cause, message, score, attributes,
       EXTRACT(EPOCH FROM ended_at - started_at)::float AS seconds
FROM hpo.trial WHERE study = :study AND number = :number

-- name: counts
SELECT count(*) FILTER (WHERE t.state = 'complete') AS complete,
       count(*) FILTER (WHERE t.state = 'running') AS running,
       count(*) FILTER (WHERE t.state = 'waiting') AS waiting,
       count(*) FILTER (WHERE t.state = 'pruned') AS pruned,
       count(*) FILTER (WHERE t.state = 'failed') AS failed,
       count(*) FILTER (WHERE t.state = 'replaced') AS replaced,
       s.cap
FROM hpo.study s LEFT JOIN hpo.trial t ON t.study = s.name
WHERE s.name = :study GROUP BY s.cap

-- name: start_trial
UPDATE hpo.trial
SET state = 'running', worker = :worker, started_at = clock_timestamp()
WHERE study = :study AND number = :number AND state = 'waiting'
RETURNING number

-- name: end_trial
-- Guarded: a worker that lost the trial changes nothing. What it ended as is published to Optuna afterwards.
UPDATE hpo.trial
SET state = :state, cause = :cause, message = :message, score = :score,
    attributes = attributes || CAST(:attributes AS jsonb), ended_at = clock_timestamp(), published = false
WHERE study = :study AND number = :number AND state = 'running' AND worker = :worker
RETURNING number

-- name: unpublished
SELECT number FROM hpo.trial WHERE study = :study AND NOT published ORDER BY number

-- name: published
UPDATE hpo.trial SET published = true WHERE study = :study AND number = :number

-- name: register_worker
INSERT INTO hpo.worker (id, place, host, pid, started) VALUES (:id, :place, :host, :pid, :started)

-- name: beat
UPDATE hpo.worker SET beat_at = clock_timestamp() WHERE id = :id

-- name: unregister_worker
UPDATE hpo.worker SET left_at = clock_timestamp() WHERE id = :id

-- name: workers
SELECT w.id, w.place, w.host, w.pid, w.started,
       EXTRACT(EPOCH FROM clock_timestamp() - w.beat_at)::float AS silent_seconds, t.study, t.number
FROM hpo.worker w LEFT JOIN hpo.trial t ON t.worker = w.id AND t.state = 'running'
WHERE w.left_at IS NULL ORDER BY w.registered_at

-- name: holders
-- The workers of this study's running trials, with whether they have left.
SELECT t.number, w.id, w.place, w.pid, w.started, w.left_at IS NOT NULL AS has_left,
       EXTRACT(EPOCH FROM clock_timestamp() - w.beat_at)::float AS silent_seconds
FROM hpo.trial t JOIN hpo.worker w ON w.id = t.worker
WHERE t.study = :study AND t.state = 'running'

-- name: throughput
SELECT params ->> :size_key AS size, count(*) AS ended,
       avg(EXTRACT(EPOCH FROM ended_at - started_at))::float AS mean_seconds,
       count(*) FILTER (WHERE ended_at > clock_timestamp() - interval '1 hour') AS last_hour,
       min(started_at) AS first_start
FROM hpo.trial WHERE study = :study AND state IN ('complete', 'pruned') GROUP BY 1

-- name: pending_sizes
SELECT params ->> :size_key AS size, count(*) AS pending
FROM hpo.trial WHERE study = :study AND state IN ('waiting', 'running') GROUP BY 1

-- name: elapsed_of_running
SELECT params ->> :size_key AS size, EXTRACT(EPOCH FROM clock_timestamp() - started_at)::float AS elapsed
FROM hpo.trial WHERE study = :study AND state = 'running'

-- name: best_maximize
SELECT number, slot, turn, attempt, origin, params, seed, state, design_id, worker, cause, message, score, attributes,
       EXTRACT(EPOCH FROM ended_at - started_at)::float AS seconds
FROM hpo.trial WHERE study = :study AND state = 'complete' ORDER BY score DESC, number LIMIT 1

-- name: best_minimize
SELECT number, slot, turn, attempt, origin, params, seed, state, design_id, worker, cause, message, score, attributes,
       EXTRACT(EPOCH FROM ended_at - started_at)::float AS seconds
FROM hpo.trial WHERE study = :study AND state = 'complete' ORDER BY score, number LIMIT 1

-- name: open_designs
SELECT attributes ->> 'design' AS design FROM hpo.trial
WHERE study = :study AND origin = 'forced' AND state IN ('waiting', 'running') ORDER BY slot
