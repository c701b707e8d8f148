-- The roles of balance-sync: run this once in its database, before the first `alembic upgrade head`, as somebody who may
-- make roles; running it again does no harm. `alembic upgrade head`, run as bal_owner, makes the tables and gives the
-- others their rights on them (db/rights.py); an update of balance-sync needs no more than that.
--
--   bal_owner      owns the tables and migrates them; no superuser; used by nothing that runs for long
--   bal_worker     the worker and beat, and what is run by hand beside them
--   bal_api        the endpoint
--   bal_ops        celery -A worker freshness and resync, by somebody who is not the worker
--   bal_registrar  your own backend: keeps the wallets, reads the balances
--
-- None has a password yet, so that nobody logs in by one: ALTER ROLE bal_worker PASSWORD '...'. A role of your own gets
-- the same rights by GRANT bal_registrar TO your_backend.
DO $$
DECLARE
    role text;
    thing record;
BEGIN
    FOREACH role IN ARRAY ARRAY['bal_owner', 'bal_worker', 'bal_api', 'bal_ops', 'bal_registrar'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE', role);
        END IF;
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), role);
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), role);
    END LOOP;
    EXECUTE format('GRANT CREATE ON SCHEMA %I TO bal_owner', current_schema());
    EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC', current_schema());
    -- What a version before had made, whoever ran it, is the owner's from now on.
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        EXECUTE format('GRANT bal_owner TO %I', current_user);
    END IF;
    -- Who owned it until now can go on for as long as it takes to switch to the roles; then REVOKE bal_owner FROM it.
    FOR thing IN
        SELECT DISTINCT rolname AS name FROM pg_class JOIN pg_roles ON pg_roles.oid = relowner
         WHERE relnamespace = current_schema()::regnamespace AND relname IN ('wallets', 'sync_schedule', 'balance_cache')
           AND NOT rolsuper AND rolname <> 'bal_owner'
    LOOP
        EXECUTE format('GRANT bal_owner TO %I', thing.name);
        RAISE NOTICE '% owned the tables and may act as bal_owner: switch to the roles, then REVOKE that', thing.name;
    END LOOP;
    FOR thing IN
        SELECT format('TABLE %s', oid::regclass) AS name FROM pg_class
         WHERE relnamespace = current_schema()::regnamespace
           AND relname IN ('networks', 'sources', 'wallets', 'sync_schedule', 'leases', 'network_state', 'balance_cache',
                           'held_changes', 'change_rates', 'watched', 'touches', 'feed_cursor', 'feed_blocks',
                           'wallet_limits', 'alembic_version')
        UNION ALL
        SELECT format('FUNCTION %s', oid::regprocedure) FROM pg_proc
         WHERE pronamespace = current_schema()::regnamespace
           AND proname IN ('sync_schedule_enrol', 'sync_schedule_restart')
    LOOP
        EXECUTE format('ALTER %s OWNER TO bal_owner', thing.name);
    END LOOP;
END $$;
