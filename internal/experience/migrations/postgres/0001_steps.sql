-- Steps, what was lost of them, what came of them, and what their values mean.
-- Numbers that are counted from 0 without a bound (seeds) are kept as the signed
-- number of the same bits.
create table carla_rl_runs (
  run     text primary key,
  began   timestamptz not null,
  ended   boolean not null default false,
  pruned  bigint not null default 0,
  highest bigint not null default 0
);
create table carla_rl_layouts (
  digest  text not null,
  model   text not null,
  version text not null,
  layout  json not null,
  primary key (digest, model, version)
);
create table carla_rl_steps (
  run           text not null,
  sequence      bigint not null,
  time          timestamptz not null,
  mono_ns       bigint not null,
  request_id    text not null,
  request_row   integer not null,
  session       text not null,
  episode       bigint not null,
  session_step  bigint not null,
  first         boolean not null,
  model         text not null,
  version       text not null,
  digest        text not null,
  observation   real[] not null,
  action        real[] not null,
  raw           real[],
  value         real,
  log_prob      real,
  queue_ns      bigint not null,
  infer_ns      bigint not null,
  enveloping_ns bigint not null,
  interventions json,
  deterministic boolean not null,
  seed          bigint not null,
  draw_step     bigint not null,
  draw_row      bigint not null,
  masks         real[],
  primary key (run, sequence)
);
create index carla_rl_steps_time on carla_rl_steps using brin (time);
create table carla_rl_gaps (
  run    text not null,
  first  bigint not null,
  last   bigint not null,
  reason text not null,
  time   timestamptz not null,
  primary key (run, first, last)
);
create table carla_rl_outcomes (
  id           text primary key,
  run          text not null,
  session      text not null,
  episode      bigint not null,
  session_step bigint not null,
  reward       double precision,
  terminated   boolean not null,
  truncated    boolean not null,
  info         json,
  time         timestamptz not null
);
create index carla_rl_outcomes_session on carla_rl_outcomes (session, session_step);
