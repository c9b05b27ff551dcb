-- Every statement of the control schema, by name, and some on Optuna's tables. The states are drawn in hpo/records.py.

-- name: insert_study
INSERT INTO hpo.study (name, phase, spec, fingerprint, prepared, cap, state, convergence_off, parent, history)
VALUES (:name, :phase, CAST(:spec AS jsonb), :fingerprint, CAST(:prepared AS jsonb), :cap, 'running',
        :convergence_off, :parent, CAST(:history AS jsonb))

-- name: study
SELECT name, phase, spec, fingerprint, prepared, cap, state, reason, evidence, convergence_off, parent, history, noted
FROM hpo.study WHERE name = :name

-- name: study_names
SELECT name FROM hpo.study ORDER BY created_at, name

-- name: children
SELECT name FROM hpo.study WHERE parent = :parent ORDER BY created_at, name

-- name: set_how_it_runs
-- Mode, thresholds of alerts and kept weights are no part of what is searched: they may change while it runs. Phase 2
-- follows.
UPDATE hpo.study SET spec = spec || CAST(:options AS jsonb)
WHERE (name = :name OR parent = :name) AND NOT spec @> CAST(:options AS jsonb)

-- name: open_studies
SELECT name FROM hpo.study WHERE state = 'running' ORDER BY created_at, name

-- name: open_work
-- All that an idle worker asks: no lock, and no trial is read to be counted. Fairly: the study that has waited longest
-- for a worker comes first. `gives`: a trial waits, a slot is free, or all have ended and nobody has said so.
SELECT s.name, s.spec,
       s.state = 'running' AND (
           open.waiting > 0 OR open.waiting + open.running = 0
           OR (SELECT count(*) FROM hpo.trial t WHERE t.study = s.name AND t.state <> 'replaced') < s.cap
       ) AS gives,
       NOT s.noted OR EXISTS (SELECT FROM hpo.trial t WHERE t.study = s.name AND NOT t.published) AS unsaid,
       COALESCE(open.holders, '[]') AS holders
FROM hpo.study s CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE t.state = 'waiting') AS waiting,
           count(*) FILTER (WHERE t.state = 'running') AS running,
           jsonb_agg(jsonb_build_object(
               'id', w.id, 'place', w.place, 'host', w.host, 'pid', w.pid, 'started', w.started,
               'has_left', w.left_at IS NOT NULL,
               'silent_seconds', EXTRACT(
                   EPOCH FROM clock_timestamp() - GREATEST(w.beat_at, pg_postmaster_start_time()))::float
           )) FILTER (WHERE w.id IS NOT NULL) AS holders
    FROM hpo.trial t LEFT JOIN hpo.worker w ON w.id = t.worker AND t.state = 'running'
    WHERE t.study = s.name AND t.state IN ('waiting', 'running')
) open
WHERE (CAST(:only AS text[]) IS NULL OR s.name = ANY (CAST(:only AS text[])))
  AND (s.state = 'running' OR open.running > 0 OR NOT s.noted
       OR EXISTS (SELECT FROM hpo.trial t WHERE t.study = s.name AND NOT t.published))
ORDER BY (SELECT max(t.started_at) FROM hpo.trial t WHERE t.study = s.name) NULLS FIRST, s.name

-- name: change_state
-- Guarded: only the first of several deciders changes anything.
UPDATE hpo.study
SET state = :state, reason = :reason, evidence = CAST(:evidence AS jsonb), changed_at = clock_timestamp(),
    noted = false
WHERE name = :name AND state = 'running'
RETURNING name

-- name: resume_study
UPDATE hpo.study
SET state = 'running', reason = :reason, evidence = '{}', cap = :cap, spec = CAST(:spec AS jsonb),
    fingerprint = :fingerprint, convergence_off = :convergence_off, changed_at = clock_timestamp(), noted = false
WHERE name = :name
RETURNING name

-- name: insert_trial
-- A slot has one trial a turn, however many processes try.
INSERT INTO hpo.trial (study, number, slot, turn, attempt, origin, design_id, seed, params, attributes, state, worker,
                       started_at)
VALUES (:study, :number, :slot, :turn, :attempt, :origin, :design_id, :seed, CAST(:params AS jsonb),
        CAST(:attributes AS jsonb), :state, :worker, CASE WHEN :state = 'running' THEN clock_timestamp() END)
ON CONFLICT DO NOTHING
RETURNING number

-- name: lock_optuna_study
-- As Optuna does before it makes a trial: whoever waits here gets the next number.
SELECT study_id FROM studies WHERE study_id = :study FOR NO KEY UPDATE

-- name: insert_optuna_trial
-- What Optuna writes in 47 statements for a trial of 5 parameters and 15 attributes: docs/adr/0024.
WITH trial AS (
    INSERT INTO trials (number, study_id, state, datetime_start)
    VALUES ((SELECT COALESCE(max(number) + 1, 0) FROM trials WHERE study_id = :study), :study, 'RUNNING',
            clock_timestamp() AT TIME ZONE 'UTC')
    RETURNING trial_id, number
), params AS (
    INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json)
    SELECT trial.trial_id, each.*
    FROM trial, unnest(CAST(:names AS text[]), CAST(:values AS float8[]), CAST(:distributions AS text[])) each
), attributes AS (
    INSERT INTO trial_user_attributes (trial_id, key, value_json)
    SELECT trial.trial_id, each.* FROM trial, unnest(CAST(:keys AS text[]), CAST(:contents AS text[])) each
)
SELECT number FROM trial

-- name: end_optuna_trial
-- What Optuna writes in two statements for an attribute, in a transaction each. One that has ended there stays as it is.
-- Of one that was pruned the last look is the value, as Optuna has it. Returns whether the trial is there at all.
WITH trial AS (
    UPDATE trials SET state = CAST(:state AS trialstate), datetime_complete = clock_timestamp() AT TIME ZONE 'UTC',
                      datetime_start = COALESCE(datetime_start, clock_timestamp() AT TIME ZONE 'UTC')
    WHERE study_id = :study AND number = :number AND state IN ('RUNNING', 'WAITING')
    RETURNING trial_id, state
), attributes AS (
    INSERT INTO trial_user_attributes (trial_id, key, value_json)
    SELECT trial.trial_id, each.* FROM trial, unnest(CAST(:keys AS text[]), CAST(:contents AS text[])) each
    ON CONFLICT (trial_id, key) DO UPDATE SET value_json = excluded.value_json
), value AS (
    INSERT INTO trial_values (trial_id, objective, value, value_type)
    SELECT trial.trial_id, 0, found.value, CAST(found.kind AS trialvaluetype)
    FROM trial CROSS JOIN LATERAL (
        SELECT CAST(:score AS float8) AS value, 'FINITE' AS kind WHERE trial.state = 'COMPLETE'
        UNION ALL
        (SELECT look.intermediate_value, look.intermediate_value_type::text FROM trial_intermediate_values look
         WHERE look.trial_id = trial.trial_id AND trial.state = 'PRUNED' ORDER BY look.step DESC LIMIT 1)
    ) found
    WHERE found.kind <> 'NAN'
)
SELECT EXISTS (SELECT FROM trials WHERE study_id = :study AND number = :number)

-- name: waiting
SELECT number FROM trials WHERE study_id = :study AND state = 'WAITING' ORDER BY number

-- name: strays
-- What Optuna has running, and waits here or was never heard of.
SELECT theirs.number
FROM trials theirs LEFT JOIN hpo.trial own ON own.study = :name AND own.number = theirs.number
WHERE theirs.study_id = :study AND theirs.state = 'RUNNING' AND (own.number IS NULL OR own.state = 'waiting')
ORDER BY theirs.number

-- name: say_work
-- The database itself says it of a trial that waits, and of a study that is made, ends or goes on.
SELECT pg_notify('hpo_work', '')

-- name: trials
SELECT number, slot, turn, attempt, origin, params, seed, state, design_id, worker, cause, message, score, attributes,
       EXTRACT(EPOCH FROM ended_at - started_at)::float AS seconds
FROM hpo.trial WHERE study = :study ORDER BY number

-- name: trial_count
SELECT count(*) FROM hpo.trial WHERE study = :study

-- name: changed_trials
-- Of those that are known to be open only what has changed since: with 64 workers 64 run at any time.
SELECT number, slot, turn, attempt, origin, params, seed, state, design_id, worker, cause, message, score, attributes,
       EXTRACT(EPOCH FROM ended_at - started_at)::float AS seconds
FROM hpo.trial
WHERE study = :study AND (
    number > :after
    OR (number = ANY (CAST(:running AS integer[])) AND state <> 'running')
    OR (number = ANY (CAST(:waiting AS integer[])) AND state <> 'waiting')
)
ORDER BY number

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
SELECT number, slot, turn, attempt, origin, params, seed, state, design_id, worker, cause, message, score, attributes,
       EXTRACT(EPOCH FROM ended_at - started_at)::float AS seconds
FROM hpo.trial
WHERE study = :study AND NOT published AND (CAST(:number AS integer) IS NULL OR number = :number)
ORDER BY number

-- name: published
UPDATE hpo.trial SET published = true WHERE study = :study AND number = :number
RETURNING (SELECT noted FROM hpo.study WHERE name = :study)

-- name: note_again
UPDATE hpo.study SET noted = false WHERE name = :name

-- name: mark_noted
-- Only if the study is still as the note says.
UPDATE hpo.study SET noted = true WHERE name = :name AND state = :state AND cap = :cap

-- name: register_worker
INSERT INTO hpo.worker (id, place, host, pid, started) VALUES (:id, :place, :host, :pid, :started)

-- name: beat
-- Who beats is here, whatever was said of it: a restored backup says that all have left, and some may come back.
UPDATE hpo.worker SET beat_at = clock_timestamp(), left_at = NULL, vitals = CAST(:vitals AS jsonb)
WHERE id = :id
RETURNING leave_asked_at IS NOT NULL AS leave_asked,
          EXISTS (SELECT FROM hpo.trial t WHERE t.worker = :id AND t.state = 'running') AS holds

-- name: unregister_worker
UPDATE hpo.worker SET left_at = clock_timestamp() WHERE id = :id

-- name: ask_to_leave
-- The idle first, then those that came last.
UPDATE hpo.worker SET leave_asked_at = clock_timestamp()
WHERE id IN (
    SELECT w.id FROM hpo.worker w LEFT JOIN hpo.trial t ON t.worker = w.id AND t.state = 'running'
    WHERE w.left_at IS NULL AND w.leave_asked_at IS NULL AND w.id = ANY (CAST(:among AS text[]))
    ORDER BY t.number IS NOT NULL, w.registered_at DESC
    LIMIT :count
)
RETURNING id

-- name: raise_alert
INSERT INTO hpo.alert (host, message) VALUES (:host, :message)

-- name: recent_alerts
-- Each once, with when it was raised last.
SELECT host, message, max(raised_at) AS raised_at, count(*) AS times
FROM hpo.alert WHERE raised_at > clock_timestamp() - interval '24 hours' GROUP BY host, message ORDER BY 3 DESC

-- name: workers
SELECT w.id, w.place, w.host, w.pid, w.started, w.vitals, w.leave_asked_at IS NOT NULL AS leave_asked,
       EXTRACT(EPOCH FROM clock_timestamp() - GREATEST(w.beat_at, pg_postmaster_start_time()))::float AS silent_seconds,
       t.study, t.number
FROM hpo.worker w LEFT JOIN hpo.trial t ON t.worker = w.id AND t.state = 'running'
WHERE w.left_at IS NULL AND (t.number IS NOT NULL OR w.beat_at > clock_timestamp() - interval '1 hour')
ORDER BY w.registered_at

-- name: holders
-- The workers of this study's running trials, with whether they have left. Nobody can beat while the server is down:
-- silence counts from its start.
SELECT t.number, w.id, w.place, w.host, w.pid, w.started, w.left_at IS NOT NULL AS has_left,
       EXTRACT(EPOCH FROM clock_timestamp() - GREATEST(w.beat_at, pg_postmaster_start_time()))::float AS silent_seconds
FROM hpo.trial t JOIN hpo.worker w ON w.id = t.worker
WHERE t.study = :study AND t.state = 'running'

-- name: throughput
SELECT params ->> :size_key AS size, avg(EXTRACT(EPOCH FROM ended_at - started_at))::float AS mean_seconds
FROM hpo.trial WHERE study = :study AND state IN ('complete', 'pruned') GROUP BY 1

-- name: pace
-- See hpo.records.Pace. A trial that was under way when the study was set running again counts from then on.
WITH span AS (
    SELECT s.name, s.changed_at,
           CASE WHEN s.state = 'running' THEN clock_timestamp() ELSE max(t.ended_at) END AS closed,
           CASE WHEN s.state = 'running'
                THEN GREATEST(s.changed_at, min(t.started_at) FILTER (
                    WHERE t.ended_at IS NULL OR t.ended_at > s.changed_at))
                ELSE min(t.started_at) END AS first
    FROM hpo.study s LEFT JOIN hpo.trial t ON t.study = s.name
    WHERE s.name = :study GROUP BY s.name
), hour AS (
    SELECT name, changed_at, closed, GREATEST(first, closed - interval '1 hour') AS opened FROM span
)
SELECT EXTRACT(EPOCH FROM clock_timestamp() - changed_at)::float AS since_change,
       (SELECT count(*) FROM hpo.trial t
        WHERE t.study = name AND t.state IN ('complete', 'pruned') AND t.ended_at > opened AND t.ended_at <= closed
       ) AS ended,
       EXTRACT(EPOCH FROM closed - opened)::float AS seconds
FROM hour

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

-- name: repeated_scores
-- Of configurations with two scores or more: other seeds, for the noise. Sorted by a hash, 10,000 trials take a quarter
-- of the time that they take by their parameters; a collision is told apart by whoever groups them.
WITH scored AS (
    SELECT number, params, seed, score, count(*) OVER (PARTITION BY jsonb_hash_extended(params, 0)) AS times
    FROM hpo.trial WHERE study = :study AND state = 'complete'
)
SELECT params, seed, score FROM scored WHERE times > 1 ORDER BY number

-- name: surpassed_maximize
-- Ended trials without the best configurations, the mean of its seeds counting for each and its first trial standing for
-- it: ten seeds of one would leave no place for others, and the luckiest of them is not what is wanted.
SELECT number FROM hpo.trial WHERE study = :study AND state IN ('complete', 'pruned', 'failed')
EXCEPT
(SELECT min(number) FROM hpo.trial WHERE study = :study AND state = 'complete'
 GROUP BY params ORDER BY avg(score) DESC, min(number) LIMIT :most)

-- name: surpassed_minimize
SELECT number FROM hpo.trial WHERE study = :study AND state IN ('complete', 'pruned', 'failed')
EXCEPT
(SELECT min(number) FROM hpo.trial WHERE study = :study AND state = 'complete'
 GROUP BY params ORDER BY avg(score), min(number) LIMIT :most)

-- name: last_to_end
SELECT worker FROM hpo.trial WHERE study = :study AND ended_at IS NOT NULL AND state <> 'replaced'
ORDER BY ended_at DESC, number DESC LIMIT 1

-- name: repeated_failures
-- How often trials ended badly for one and the same reason: by the last line of what they said, numbers in it aside,
-- where they failed; by the cause alone elsewhere, for what those say names a worker, a size or a step. A configuration
-- that has run out of memory again and again, smaller every time, counts once.
WITH said AS (
    SELECT cause, number, slot, substring(rtrim(message, E' \n') FROM '[^\n]*$') AS reason
    FROM hpo.trial
    WHERE study = :study AND cause IN ('failed', 'out_of_memory', 'diverged', 'lost')
      AND state IN ('failed', 'replaced')
)
SELECT cause, (array_agg(reason ORDER BY number DESC))[1] AS reason, max(number) AS latest,
       CASE WHEN cause = 'out_of_memory' THEN count(DISTINCT slot) ELSE count(*) END AS times
FROM said
GROUP BY cause, CASE WHEN cause = 'failed'
    THEN regexp_replace(reason, '0x[0-9a-fA-F]+|[0-9]+([.][0-9]+)?([eE][-+]?[0-9]+)?', '#', 'g') END
HAVING CASE WHEN cause = 'out_of_memory' THEN count(DISTINCT slot) ELSE count(*) END >= :at_least
ORDER BY times DESC LIMIT 3

-- name: batch_swings
-- An objective may have recorded anything under these names.
SELECT number, attributes ->> 'batch_metric' AS metric, deviation,
       CASE jsonb_typeof(batch) WHEN 'number' THEN batch::float END AS effective_batch
FROM hpo.trial CROSS JOIN LATERAL (
    SELECT attributes -> 'effective_batch' AS batch,
           CASE jsonb_typeof(attributes -> 'batch_metric_std')
               WHEN 'number' THEN (attributes -> 'batch_metric_std')::float END AS deviation
) recorded
WHERE study = :study AND state = 'complete' AND attributes ? 'batch_metric' AND deviation IS NOT NULL
  AND jsonb_typeof(batch) = 'number' ORDER BY number

-- name: open_designs
SELECT attributes ->> 'design' AS design FROM hpo.trial
WHERE study = :study AND origin = 'forced' AND state IN ('waiting', 'running') ORDER BY slot

-- name: begin_test_reading
-- Whoever comes second changes nothing: what is read, and since when, stays.
INSERT INTO hpo.test_reading (study, fingerprint, plan) VALUES (:study, :version, CAST(:plan AS jsonb))
ON CONFLICT DO NOTHING

-- name: end_test_reading
UPDATE hpo.test_reading SET result = CAST(:result AS jsonb)
WHERE study = :study AND fingerprint = :version AND result IS NULL
RETURNING study

-- name: test_reading
SELECT study, fingerprint AS version, read_at, plan, result
FROM hpo.test_reading WHERE study = :study AND fingerprint = :version

-- name: test_readings_before
-- Of the same prices, by whatever study: its test part is the same dates, or most of them.
SELECT r.study, r.read_at
FROM hpo.test_reading r JOIN hpo.study s ON s.name = r.study JOIN hpo.study own ON own.name = :study
WHERE (r.study = own.name OR s.spec -> 'data' @> jsonb_build_object('path', own.spec #> '{data,path}',
                                                                    'example', own.spec #> '{data,example}'))
  AND NOT (r.study = own.name AND r.fingerprint = :version)
  AND r.read_at < COALESCE((SELECT read_at FROM hpo.test_reading WHERE study = :study AND fingerprint = :version),
                           clock_timestamp())
ORDER BY r.read_at

-- name: curves
-- What a running trial is compared with. The latest 100 say where the others stood as well as all would.
SELECT attributes -> 'best_so_far' AS points FROM hpo.trial
WHERE study = :study AND state IN ('complete', 'pruned') AND origin <> 'repeat' AND attributes ? 'best_so_far'
  AND (CAST(:key AS text) IS NULL OR params ->> CAST(:key AS text) = :value)
ORDER BY number DESC LIMIT 100
