"""The statement that merges buckets. Every insert goes in key order, so that two merges cannot deadlock."""

# Reads as a pipeline: taken → first of each key → keys that are really new → events → windows; what is left of a
# key with other content is a conflict. Data-modifying parts of one statement all see the state before it.
MERGE = """
WITH taken AS (
    DELETE FROM metering_stagedevent WHERE bucket = ANY (%(buckets)s) AND id <= %(last)s RETURNING *
), ranked AS (
    SELECT *, row_number() OVER same_key AS turn,
           first_value(content_hash) OVER same_key AS first_content,
           first_value(public_id) OVER same_key AS first_event
    FROM taken
    WINDOW same_key AS (PARTITION BY organization_id, key_hash ORDER BY id)
), new_key AS (
    INSERT INTO metering_key (organization_id, key_hash, content_hash, public_id, accepted_at)
    SELECT organization_id, key_hash, content_hash, public_id, accepted_at FROM ranked WHERE turn = 1
    ORDER BY organization_id, key_hash
    ON CONFLICT (organization_id, key_hash) DO NOTHING
    RETURNING organization_id, key_hash, 1 AS turn
), judged AS (
    SELECT ranked.*, new_key.turn IS NOT NULL AS is_fresh
    FROM ranked LEFT JOIN new_key USING (organization_id, key_hash, turn)
), stored AS (
    INSERT INTO metering_event
        (public_id, organization_id, idempotency_key, event_type, source, subject_id, external_id, occurred_at,
         accepted_at, data, metrics, dimensions, quantities, hashes)
    SELECT public_id, organization_id, idempotency_key, event_type, source, subject_id, external_id, occurred_at,
           accepted_at, data, metrics, dimensions, quantities, hashes
    FROM judged WHERE is_fresh
    RETURNING 1
), effect AS (
    -- Arrays unpack side by side in the list of columns, cheaper than by a join with a function.
    SELECT organization_id, subject_id, occurred_at, public_id, date_trunc('hour', occurred_at, 'UTC') AS hour,
           unnest(metrics) AS metric_id, unnest(dimensions) AS dimension_id, unnest(quantities) AS value,
           unnest(hashes) AS value_hash
    FROM judged WHERE is_fresh
), latest AS (
    SELECT DISTINCT ON (metric_id, subject_id, hour, dimension_id)
           metric_id, subject_id, hour, dimension_id, value, occurred_at, public_id
    FROM effect
    WHERE metric_id = ANY (ARRAY(SELECT id FROM catalog_billablemetric WHERE aggregation = 'LATEST'))
    ORDER BY metric_id, subject_id, hour, dimension_id, occurred_at DESC, public_id DESC
), grouped AS (
    SELECT min(organization_id) AS organization_id, metric_id, subject_id, hour, dimension_id,
           sum(value) AS sum, count(*) AS count, min(value) AS min, max(value) AS max,
           sum(value * extract(epoch FROM hour + interval '1 hour' - occurred_at)) FILTER (
               WHERE metric_id = ANY (ARRAY(SELECT id FROM catalog_billablemetric WHERE aggregation = 'WEIGHTED_SUM'))
           ) AS moment
    FROM effect
    GROUP BY metric_id, subject_id, hour, dimension_id
), windowed AS (
    INSERT INTO metering_window AS w
        (organization_id, metric_id, subject_id, hour, dimension_id, sum, count, min, max, latest, latest_at,
         latest_event, moment, changed_at)
    SELECT g.organization_id, g.metric_id, g.subject_id, g.hour, g.dimension_id, g.sum, g.count, g.min, g.max,
           l.value, l.occurred_at, l.public_id, g.moment, %(now)s
    FROM grouped AS g
    LEFT JOIN latest AS l ON l.metric_id = g.metric_id AND l.subject_id = g.subject_id AND l.hour = g.hour
     AND l.dimension_id IS NOT DISTINCT FROM g.dimension_id
    ORDER BY g.metric_id, g.subject_id, g.hour, g.dimension_id
    ON CONFLICT ON CONSTRAINT metering_window_once DO UPDATE SET
        sum = w.sum + excluded.sum,
        count = w.count + excluded.count,
        min = least(w.min, excluded.min),
        max = greatest(w.max, excluded.max),
        latest = CASE WHEN (excluded.latest_at, excluded.latest_event) > (w.latest_at, w.latest_event)
                      THEN excluded.latest ELSE w.latest END,
        latest_at = greatest(w.latest_at, excluded.latest_at),
        latest_event = CASE WHEN (excluded.latest_at, excluded.latest_event) > (w.latest_at, w.latest_event)
                            THEN excluded.latest_event ELSE w.latest_event END,
        moment = w.moment + excluded.moment,
        changed_at = excluded.changed_at
    RETURNING 1
), distinct_value AS (
    INSERT INTO metering_windowvalue (metric_id, subject_id, hour, dimension_id, value_hash)
    SELECT DISTINCT metric_id, subject_id, hour, dimension_id, value_hash FROM effect
    WHERE value_hash IS NOT NULL
    ORDER BY metric_id, subject_id, hour, dimension_id, value_hash
    ON CONFLICT ON CONSTRAINT metering_windowvalue_once DO NOTHING
), repeat AS (
    -- Who was first: the key's event from before this statement, else the first of this very batch.
    SELECT late.*, (
        SELECT ARRAY[key.content_hash::text, key.public_id] FROM metering_key AS key
        WHERE key.organization_id = late.organization_id AND key.key_hash = late.key_hash
    ) AS known
    FROM judged AS late WHERE NOT is_fresh
), conflict AS (
    INSERT INTO metering_eventconflict
        (organization_id, idempotency_key, first_event_id, content, detected_at)
    SELECT organization_id, idempotency_key, coalesce(known[2], first_event),
           jsonb_build_object('type', event_type, 'source', source, 'timestamp', occurred_at, 'data', data,
                              'externalId', external_id),
           %(now)s
    FROM repeat
    WHERE coalesce(known[1]::uuid, first_content) <> content_hash
    RETURNING 1
)
SELECT (SELECT count(*) FROM taken), (SELECT count(*) FROM stored), (SELECT count(*) FROM conflict)
"""

# The id up to which a merge takes rows, so that it takes at most so many.
LAST = """
SELECT max(id) FROM (
    SELECT id FROM metering_stagedevent WHERE bucket = ANY (%(buckets)s) ORDER BY id LIMIT %(limit)s
) AS taken
"""

# The planner cannot know how many rows a step before it leaves and would compare all with all; sorts stay in memory.
SETTINGS = "SELECT set_config('enable_nestloop', 'off', true), set_config('work_mem', '128MB', true)"

SET_ASIDE = """
WITH taken AS (
    DELETE FROM metering_stagedevent
    WHERE bucket = %(bucket)s AND id = (SELECT min(id) FROM metering_stagedevent WHERE bucket = %(bucket)s)
    RETURNING *
)
INSERT INTO metering_deadletter (organization_id, stage, code, message, payload, created_at)
SELECT organization_id, 'merge', 'UNMERGEABLE', 'The event cannot be counted; its values are out of range.',
       jsonb_build_object('id', public_id, 'idempotencyKey', idempotency_key, 'type', event_type, 'source', source,
                          'timestamp', occurred_at, 'data', data),
       %(now)s
FROM taken
"""
