"""The statement that merges a bucket. Every insert goes in key order, so that two merges cannot deadlock."""

# Reads as a pipeline: taken → first of each key → keys that are really new → events → windows; what is left of a
# key with other content is a conflict. Data-modifying parts of one statement all see the state before it.
MERGE = """
WITH taken AS (
    DELETE FROM metering_stagedevent
    WHERE id IN (
        SELECT id FROM metering_stagedevent WHERE bucket = %(bucket)s ORDER BY id LIMIT %(limit)s
    )
    RETURNING *
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY organization_id, key_hash ORDER BY id) AS turn FROM taken
), candidate AS (
    SELECT * FROM ranked WHERE turn = 1
), new_key AS (
    INSERT INTO metering_key (organization_id, key_hash, content_hash, public_id, accepted_at)
    SELECT organization_id, key_hash, content_hash, public_id, accepted_at FROM candidate
    ORDER BY organization_id, key_hash
    ON CONFLICT (organization_id, key_hash) DO NOTHING
    RETURNING organization_id, key_hash
), fresh AS (
    SELECT candidate.* FROM candidate JOIN new_key USING (organization_id, key_hash)
), stored AS (
    INSERT INTO metering_event
        (public_id, organization_id, idempotency_key, event_type, source, subject_id, external_id, occurred_at,
         accepted_at, data, effects)
    SELECT public_id, organization_id, idempotency_key, event_type, source, subject_id, external_id, occurred_at,
           accepted_at, data, effects
    FROM fresh ORDER BY id
    RETURNING 1
), effect AS (
    SELECT fresh.organization_id, fresh.subject_id, fresh.occurred_at, fresh.public_id,
           date_trunc('hour', fresh.occurred_at, 'UTC') AS hour,
           e.m AS metric_id, e.d AS dimension_id, e.v AS value, e.h AS value_hash
    FROM fresh
    CROSS JOIN LATERAL jsonb_to_recordset(fresh.effects) AS e(m bigint, d bigint, v numeric(38, 9), h uuid)
), windowed AS (
    INSERT INTO metering_window AS w
        (organization_id, metric_id, subject_id, hour, dimension_id, sum, count, min, max, latest, latest_at,
         latest_event, changed_at)
    SELECT organization_id, metric_id, subject_id, hour, dimension_id,
           sum(value), count(*), min(value), max(value),
           (array_agg(value ORDER BY occurred_at DESC, public_id DESC))[1],
           max(occurred_at),
           (array_agg(public_id ORDER BY occurred_at DESC, public_id DESC))[1],
           %(now)s
    FROM effect
    GROUP BY organization_id, metric_id, subject_id, hour, dimension_id
    ORDER BY metric_id, subject_id, hour, dimension_id
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
        changed_at = excluded.changed_at
    RETURNING 1
), distinct_value AS (
    INSERT INTO metering_windowvalue (metric_id, subject_id, hour, dimension_id, value_hash)
    SELECT DISTINCT metric_id, subject_id, hour, dimension_id, value_hash FROM effect
    WHERE value_hash IS NOT NULL
    ORDER BY metric_id, subject_id, hour, dimension_id, value_hash
    ON CONFLICT ON CONSTRAINT metering_windowvalue_once DO NOTHING
), conflict AS (
    INSERT INTO metering_eventconflict
        (organization_id, idempotency_key, first_event_id, content, detected_at)
    SELECT late.organization_id, late.idempotency_key, first.public_id,
           jsonb_build_object('type', late.event_type, 'source', late.source, 'timestamp', late.occurred_at,
                              'data', late.data, 'externalId', late.external_id),
           %(now)s
    FROM ranked AS late
    JOIN LATERAL (
        -- Who was first: a key from before this statement, else the first of this batch.
        SELECT content_hash, public_id FROM metering_key
        WHERE (organization_id, key_hash) = (late.organization_id, late.key_hash)
        UNION ALL
        SELECT content_hash, public_id FROM candidate
        WHERE (organization_id, key_hash) = (late.organization_id, late.key_hash)
          AND EXISTS (SELECT FROM new_key
                      WHERE (new_key.organization_id, new_key.key_hash) = (late.organization_id, late.key_hash))
        LIMIT 1
    ) AS first ON true
    WHERE first.content_hash <> late.content_hash
    RETURNING 1
)
SELECT (SELECT count(*) FROM taken), (SELECT count(*) FROM stored), (SELECT count(*) FROM conflict)
"""

SET_ASIDE = """
WITH taken AS (
    DELETE FROM metering_stagedevent
    WHERE id = (SELECT min(id) FROM metering_stagedevent WHERE bucket = %(bucket)s)
    RETURNING *
)
INSERT INTO metering_deadletter (organization_id, stage, code, message, payload, created_at)
SELECT organization_id, 'merge', 'UNMERGEABLE', 'The event cannot be counted; its values are out of range.',
       jsonb_build_object('id', public_id, 'idempotencyKey', idempotency_key, 'type', event_type, 'source', source,
                          'timestamp', occurred_at, 'data', data),
       %(now)s
FROM taken
"""
