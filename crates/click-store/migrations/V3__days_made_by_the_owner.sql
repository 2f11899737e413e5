-- A consumer that owns no table can have the table of a day made all the same: by who owns the tables.

ALTER FUNCTION make_day_partition(text, date) SECURITY DEFINER;
REVOKE ALL ON FUNCTION make_day_partition(text, date) FROM PUBLIC;

-- It runs with its owner's rights, so nothing that its caller has set may change what it does. Names are
-- looked up where the tables are, and among the caller's temporary ones last.
DO $$
BEGIN
    EXECUTE format(
        'ALTER FUNCTION make_day_partition(text, date) SET search_path = %I, pg_temp',
        current_schema());
END
$$;
-- The bounds of a day pass through text.
ALTER FUNCTION make_day_partition(text, date) SET timezone = 'UTC';
ALTER FUNCTION make_day_partition(text, date) SET datestyle = 'ISO';
