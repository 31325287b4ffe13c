-- Nothing to seed: the rows that the product needs (site policy, plans, variant sizes, buckets) are made in sql/,
-- on every database alike. Put rows for trying things out here; `supabase db push --include-seed` inserts them.
select;
