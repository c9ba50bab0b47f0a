"""The statements that rebuild windows from events. Locks are taken in the merge's order, so nobody deadlocks."""

_KEYS = """
unnest(%(organizations)s::bigint[], %(metrics)s::bigint[], %(subjects)s::bigint[], %(hours)s::timestamptz[],
       %(dimensions)s::bigint[]) AS t(o, m, s, h, d)
"""

# A window that does not exist yet is made empty: there is nothing else to lock. Nobody sees it so, because the
# rebuilding in the same transaction fills or deletes it.
LOCK = f"""
INSERT INTO metering_window AS w
    (organization_id, metric_id, subject_id, hour, dimension_id, sum, count, changed_at)
SELECT o, m, s, h, d, 0, 1, %(now)s FROM {_KEYS}
ORDER BY m, s, h, d
ON CONFLICT ON CONSTRAINT metering_window_once DO UPDATE SET changed_at = excluded.changed_at
"""

# Runs as a statement of its own after the locks are held. Then an event of these windows is either committed with
# its part of them, and read here; or its merge waits for the locks, and adds to what is written here.
REBUILD = f"""
WITH wanted AS MATERIALIZED (
    SELECT o, m, s, h, d FROM {_KEYS}
), place AS (
    SELECT DISTINCT o, s, h FROM wanted
), effect AS MATERIALIZED (
    SELECT x.m, place.s, place.h, x.d, x.v, x.value_hash, e.occurred_at, e.public_id
    FROM place
    JOIN metering_event AS e ON e.organization_id = place.o AND e.subject_id = place.s
     AND e.occurred_at >= place.h AND e.occurred_at < place.h + interval '1 hour'
    CROSS JOIN LATERAL unnest(e.metrics, e.dimensions, e.quantities, e.hashes) AS x(m, d, v, value_hash)
    JOIN wanted ON wanted.m = x.m AND wanted.s = place.s AND wanted.h = place.h
     AND coalesce(wanted.d, 0) = coalesce(x.d, 0)
), latest AS (
    SELECT DISTINCT ON (m, s, h, d) m, s, h, d, v, occurred_at, public_id FROM effect
    WHERE m = ANY (ARRAY(SELECT id FROM catalog_billablemetric WHERE aggregation = 'LATEST'))
    ORDER BY m, s, h, d, occurred_at DESC, public_id DESC
), grouped AS (
    SELECT m, s, h, d, sum(v) AS sum, count(*) AS count, min(v) AS min, max(v) AS max,
           sum(v * extract(epoch FROM h + interval '1 hour' - occurred_at)) FILTER (
               WHERE m = ANY (ARRAY(SELECT id FROM catalog_billablemetric WHERE aggregation = 'WEIGHTED_SUM'))
           ) AS moment
    FROM effect GROUP BY m, s, h, d
), rebuilt AS (
    UPDATE metering_window AS w SET
        sum = g.sum, count = g.count, min = g.min, max = g.max, moment = g.moment,
        latest = l.v, latest_at = l.occurred_at, latest_event = l.public_id
    FROM grouped AS g
    LEFT JOIN latest AS l ON l.m = g.m AND l.s = g.s AND l.h = g.h AND coalesce(l.d, 0) = coalesce(g.d, 0)
    WHERE w.metric_id = g.m AND w.subject_id = g.s AND w.hour = g.h
      AND w.dimension_id IS NOT DISTINCT FROM g.d
    RETURNING 1
), gone AS (
    DELETE FROM metering_window AS w USING wanted AS t
    WHERE w.metric_id = t.m AND w.subject_id = t.s AND w.hour = t.h AND w.dimension_id IS NOT DISTINCT FROM t.d
      AND NOT EXISTS (
        SELECT FROM grouped AS g
        WHERE g.m = t.m AND g.s = t.s AND g.h = t.h AND coalesce(g.d, 0) = coalesce(t.d, 0)
      )
    RETURNING w.metric_id, w.subject_id, w.hour
), noted AS (
    INSERT INTO metering_windowgone AS known (metric_id, subject_id, hour, changed_at)
    SELECT DISTINCT metric_id, subject_id, hour, %(now)s::timestamptz FROM gone
    ORDER BY metric_id, subject_id, hour
    ON CONFLICT (metric_id, subject_id, hour) DO UPDATE SET
        changed_at = greatest(known.changed_at, excluded.changed_at)
), lost_value AS (
    DELETE FROM metering_windowvalue AS w USING wanted AS t
    WHERE w.metric_id = t.m AND w.subject_id = t.s AND w.hour = t.h AND w.dimension_id IS NOT DISTINCT FROM t.d
      AND NOT EXISTS (
        SELECT FROM effect AS e
        WHERE e.m = t.m AND e.s = t.s AND e.h = t.h AND coalesce(e.d, 0) = coalesce(t.d, 0)
          AND e.value_hash = w.value_hash
      )
), found_value AS (
    INSERT INTO metering_windowvalue (metric_id, subject_id, hour, dimension_id, value_hash)
    SELECT DISTINCT m, s, h, d, value_hash FROM effect WHERE value_hash IS NOT NULL
    ON CONFLICT ON CONSTRAINT metering_windowvalue_once DO NOTHING
)
SELECT (SELECT count(*) FROM rebuilt), (SELECT count(*) FROM gone)
"""
