"""The statement that merges buckets. Every insert goes in key order, so that two merges cannot deadlock."""

# Reads as a pipeline: taken → first of each key → keys that are really new → events → windows; what is left of a
# key with other content is a conflict. Data-modifying parts of one statement all see the state before it.
#
# What costs here is copying rows from step to step, so each is written out as seldom as can be: wide rows once as
# `taken` and once, sorted, as `first`; windows are worked out from what the insert of the events gives back.
MERGE = """
WITH taken AS (
    DELETE FROM metering_stagedevent WHERE bucket = ANY (%(buckets)s) AND id <= %(last)s
    RETURNING id, organization_id, key_hash, content_hash, public_id, idempotency_key, event_type, source,
              subject_id, external_id, occurred_at, accepted_at, data, metrics, dimensions, quantities, hashes
), first AS MATERIALIZED (
    SELECT DISTINCT ON (key_hash) * FROM taken ORDER BY key_hash, id
), new_key AS (
    INSERT INTO metering_key (organization_id, key_hash, content_hash, public_id, accepted_at)
    SELECT organization_id, key_hash, content_hash, public_id, accepted_at FROM first ORDER BY key_hash
    ON CONFLICT (key_hash) DO NOTHING
    RETURNING key_hash
), stored AS (
    INSERT INTO metering_event
        (public_id, organization_id, idempotency_key, event_type, source, subject_id, external_id, occurred_at,
         accepted_at, data, metrics, dimensions, quantities, hashes)
    SELECT public_id, organization_id, idempotency_key, event_type, source, subject_id, external_id, occurred_at,
           accepted_at, data, metrics, dimensions, quantities, hashes
    FROM first JOIN new_key USING (key_hash)
    RETURNING organization_id, subject_id, occurred_at, public_id, metrics, dimensions, quantities, hashes
), effect AS (
    -- Arrays unpack side by side in the list of columns, cheaper than by a join with a function.
    SELECT organization_id, subject_id, date_trunc('hour', occurred_at, 'UTC') AS hour,
           unnest(metrics) AS metric_id, unnest(dimensions) AS dimension_id, unnest(quantities) AS value
    FROM stored
), latest AS (
    SELECT DISTINCT ON (metric_id, subject_id, hour, dimension_id) *
    FROM (
        SELECT subject_id, occurred_at, public_id, date_trunc('hour', occurred_at, 'UTC') AS hour,
               unnest(metrics) AS metric_id, unnest(dimensions) AS dimension_id, unnest(quantities) AS value
        FROM stored WHERE metrics && %(latest)s::bigint[]
    ) AS unpacked
    WHERE metric_id = ANY (%(latest)s::bigint[])
    ORDER BY metric_id, subject_id, hour, dimension_id, occurred_at DESC, public_id DESC
), held AS (
    -- What a level adds up to until the hour's end: each value times the seconds that are left of it.
    SELECT metric_id, subject_id, hour, dimension_id,
           sum(value * extract(epoch FROM hour + interval '1 hour' - occurred_at)) AS moment
    FROM (
        SELECT subject_id, occurred_at, date_trunc('hour', occurred_at, 'UTC') AS hour,
               unnest(metrics) AS metric_id, unnest(dimensions) AS dimension_id, unnest(quantities) AS value
        FROM stored WHERE metrics && %(levels)s::bigint[]
    ) AS unpacked
    WHERE metric_id = ANY (%(levels)s::bigint[])
    GROUP BY metric_id, subject_id, hour, dimension_id
), grouped AS (
    SELECT min(organization_id) AS organization_id, metric_id, subject_id, hour, dimension_id,
           sum(value) AS sum, count(*) AS count, min(value) AS min, max(value) AS max
    FROM effect
    GROUP BY metric_id, subject_id, hour, dimension_id
), windowed AS (
    INSERT INTO metering_window AS w
        (organization_id, metric_id, subject_id, hour, dimension_id, sum, count, min, max, latest, latest_at,
         latest_event, moment, changed_at)
    SELECT g.organization_id, g.metric_id, g.subject_id, g.hour, g.dimension_id, g.sum, g.count, g.min, g.max,
           l.value, l.occurred_at, l.public_id, h.moment, %(now)s
    FROM grouped AS g
    LEFT JOIN latest AS l ON l.metric_id = g.metric_id AND l.subject_id = g.subject_id AND l.hour = g.hour
     AND l.dimension_id IS NOT DISTINCT FROM g.dimension_id
    LEFT JOIN held AS h ON h.metric_id = g.metric_id AND h.subject_id = g.subject_id AND h.hour = g.hour
     AND h.dimension_id IS NOT DISTINCT FROM g.dimension_id
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
    SELECT DISTINCT metric_id, subject_id, hour, dimension_id, value_hash
    FROM (
        SELECT subject_id, date_trunc('hour', occurred_at, 'UTC') AS hour,
               unnest(metrics) AS metric_id, unnest(dimensions) AS dimension_id, unnest(hashes) AS value_hash
        FROM stored WHERE hashes IS NOT NULL
    ) AS unpacked
    -- Only after the windows: whoever holds a window's row may add and remove its values.
    WHERE value_hash IS NOT NULL AND (SELECT count(*) FROM windowed) >= 0
    ORDER BY metric_id, subject_id, hour, dimension_id, value_hash
    ON CONFLICT ON CONSTRAINT metering_windowvalue_once DO NOTHING
), repeat AS (
    -- Not looked for at all when every event was new. Who was first: the key's event from before this statement
    -- (looked up by index, never by a join, which would read all keys), else the first of this very batch.
    SELECT taken.*, first.content_hash AS first_content, first.public_id AS first_event, (
        SELECT ARRAY[known.content_hash::text, known.public_id] FROM metering_key AS known
        WHERE known.key_hash = taken.key_hash
    ) AS known
    FROM taken JOIN first USING (key_hash)
    WHERE (SELECT count(*) FROM taken) > (SELECT count(*) FROM stored)
      AND (taken.id <> first.id OR NOT EXISTS (SELECT FROM new_key WHERE new_key.key_hash = taken.key_hash))
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

# The lowest staged id and how many rows there are: a merge takes rows up to an id, so that it takes at most so many.
SPAN = "SELECT min(id), max(id), count(*) FROM metering_stagedevent WHERE bucket = ANY (%(buckets)s)"

# Metrics whose windows must know which event was the last, and those whose windows must know how long values held.
SPECIAL = """
SELECT coalesce(array_agg(id) FILTER (WHERE aggregation = 'LATEST'), '{}'),
       coalesce(array_agg(id) FILTER (WHERE aggregation = 'WEIGHTED_SUM'), '{}')
FROM catalog_billablemetric WHERE aggregation IN ('LATEST', 'WEIGHTED_SUM')
"""

# The planner cannot know how many rows a step before it leaves and would compare all with all, or sort what it can
# hash; work stays in memory. Every core has a merge already, so a statement starts no helpers of its own.
SETTINGS = (
    "SELECT set_config('enable_nestloop', 'off', true), set_config('enable_sort', 'off', true),"
    " set_config('work_mem', '128MB', true), set_config('max_parallel_workers_per_gather', '0', true)"
)

# With the merge itself, so the counts are as exact as the windows.
COUNT = """
UPDATE metering_bucket SET
    merged = merged + %(inserted)s, repeated = repeated + %(repeated)s, conflicts = conflicts + %(conflicts)s,
    busy_seconds = busy_seconds + extract(epoch FROM clock_timestamp() - now()), merged_at = clock_timestamp()
WHERE bucket = %(bucket)s
"""

SET_ASIDE = """
WITH taken AS (
    DELETE FROM metering_stagedevent
    WHERE bucket = %(bucket)s AND id = (SELECT min(id) FROM metering_stagedevent WHERE bucket = %(bucket)s)
    RETURNING *
)
INSERT INTO metering_deadletter (organization_id, stage, code, message, payload, created_at)
SELECT organization_id, 'merge', 'UNMERGEABLE', 'The event cannot be counted; its values are out of range.',
       jsonb_build_object('id', public_id, 'idempotencyKey', idempotency_key, 'type', event_type, 'source', source,
                          'timestamp', occurred_at, 'data', data, 'subjectId', subject_id,
                          'externalId', external_id, 'acceptedAt', accepted_at),
       %(now)s
FROM taken
"""
