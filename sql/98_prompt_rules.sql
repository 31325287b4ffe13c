-- What prompts may not ask for. Asked inside the database before anything is queued: no provider ever hears of it.
--
-- A rule is words, not a regular expression: nothing an operator writes can take long to match. Prompt and pattern are
-- brought to the same form first (case, accents, width, look-alikes, invisible characters, punctuation), so that a word
-- is found however it is dressed up. It is a filter of words and no judge of meaning.

create or replace function private.plain_words(words text) returns text
language sql immutable parallel safe
set search_path = '', pg_temp
as $$
  -- Compatibility forms apart, accents and invisible characters away, Cyrillic and Greek letters that look Latin as these,
  -- then lower case, and one space for whatever is neither letter, digit nor the pattern's star.
  select regexp_replace(
    translate(
      lower(
        regexp_replace(normalize(words, nfkd), '[\u0300-\u036f\u00ad\u200b-\u200f\u2060-\u2064\ufe00-\ufe0f\ufeff]', '', 'g')
        collate "und-x-icu"
      ),
      'аеорсухікмтвнѕјԁԛԝαεορυικντχ', 'aeopcyxikmtbhsjdqwaeopuikvtx'
    ) collate "und-x-icu",
    '[^[:alnum:]*]+', ' ', 'g'
  )
$$;

comment on function private.plain_words is
'Words in the one form that prompts and patterns are compared in: lower case, without accents, look-alikes, invisible characters and punctuation.';

create or replace function private.prompt_like(pattern text) returns text
language sql immutable parallel safe
set search_path = '', pg_temp
as $$
  select '%' || replace(private.plain_words(' ' || prompt_like.pattern || ' '), '*', '%') || '%'
$$;

comment on function private.prompt_like is 'A rule''s pattern for LIKE: whole words, a star stands for anything. No other character of it has a meaning.';

create table if not exists public.prompt_rules (
  name text not null,
  pattern text not null,
  reason text not null,
  covers_negative boolean not null default false,
  is_enabled boolean not null default true,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint prompt_rules_pkey primary key (name),
  constraint prompt_rule_name_is_a_short_word check (name ~ '^[a-z0-9][a-z0-9_-]{0,49}$'),
  constraint prompt_rule_pattern_is_short check (char_length(pattern) <= 200),
  constraint prompt_rule_pattern_has_words check (private.plain_words(pattern) ~ '[^ *]{2}|[^ -~]'),
  constraint prompt_rule_pattern_has_few_stars check (
    char_length(pattern) - char_length(replace(pattern, '*', '')) <= 5
  ),
  constraint prompt_rule_reason_is_short check (char_length(btrim(reason)) between 1 and 200)
);

comment on table public.prompt_rules is
'Words that no prompt may hold. Read and written by operators only; a refusal names the rule and its reason, never the pattern.';
comment on column public.prompt_rules.name is 'What a refusal calls it.';
comment on column public.prompt_rules.pattern is
'Whole words in this order; * stands for any characters: "bomb*" also finds bombs. Case, accents and punctuation do not count.';
comment on column public.prompt_rules.reason is 'Why, for the user.';
comment on column public.prompt_rules.covers_negative is 'Whether a negative prompt may not hold it either.';
comment on column public.prompt_rules.is_enabled is 'Whether it is asked.';
comment on column public.prompt_rules.created_at is 'When the row was made.';
comment on column public.prompt_rules.updated_at is 'When the row was last changed.';

create or replace function private.prompt_errors(request jsonb, policy public.site_policies) returns text[]
language sql stable
set search_path = '', pg_temp
as $$
  with said as materialized (
    select t.argument, ' ' || private.plain_words(replace(t.words, '*', ' ')) || ' ' as words
    -- What is longer is refused for that.
    from (values
      ('prompt', left(request ->> 'prompt', (policy).generation_prompt_length_max)),
      ('negative_prompt', left(request ->> 'negative_prompt', (policy).generation_prompt_length_max))
    ) as t (argument, words)
  )
  select coalesce(array_agg(format('%s: rule %s: %s', w.argument, r.name, r.reason) order by w.argument desc, r.name), '{}')
  from said as w
  inner join public.prompt_rules as r
    on r.is_enabled and (w.argument = 'prompt' or r.covers_negative) and w.words like private.prompt_like(r.pattern)
$$;

comment on function private.prompt_errors is 'Which rules a request''s words break, each as "argument: rule name: reason".';

revoke all on function private.plain_words(text) from public, anon, authenticated;
revoke all on function private.prompt_like(text) from public, anon, authenticated;
revoke all on function private.prompt_errors(jsonb, public.site_policies) from public, anon, authenticated;
-- A check of the table asks it, as whoever writes there.
grant execute on function private.plain_words(text) to service_role;

create or replace trigger tg_prompt_rules__stamp before update on public.prompt_rules
for each row when (old.* is distinct from new.*) execute function private.tg__stamp_updated_at();

alter table public.prompt_rules enable row level security;

revoke all on table public.prompt_rules from anon, authenticated, service_role;
grant select, insert, update, delete on table public.prompt_rules to service_role;
