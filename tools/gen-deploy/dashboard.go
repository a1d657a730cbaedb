package main

// runbooks is where the alerts are explained.
const runbooks = "https://github.com/carla-rl/carla-rl-serving/blob/main/docs/monitoring/monitoring-setup.md"

// Selectors of the dashboard's queries. Probes and scrapes are left out of rates
// of requests and errors, as they are in the rules.
const (
	jobs     = `namespace=~"$namespace",job=~"$job"`
	models   = jobs + `,model=~"$model"`
	requests = jobs + `,endpoint!~"/(healthz|livez|readyz|startupz|metrics)"`
	predicts = jobs + `,endpoint=~".*/(predict|infer)"`
	every    = `[$__rate_interval]`
)

// quantile is a quantile of a histogram over all instances.
func quantile(q, histogram, selector, by string) string {
	if by != "" {
		by = ", " + by
	}
	return "histogram_quantile(" + q + ", sum by (le" + by + ") (rate(" + histogram + "_bucket{" + selector + "}" + every + ")))"
}

// mean is the mean of a histogram over all instances.
func mean(histogram, selector, by string) string {
	sum := func(part string) string {
		return "sum by (" + by + ") (rate(" + histogram + part + "{" + selector + "}" + every + "))"
	}
	return sum("_sum") + " / " + sum("_count")
}

var (
	goodWhenSome = []object{{"color": "red", "value": nil}, {"color": "green", "value": 1}}

	errorRatio = `(sum(rate(http_requests_total{` + requests + `,status=~"5.."}` + every + `)) or vector(0)) / sum(rate(http_requests_total{` + requests + `}` + every + `))`
)

// rows are the dashboard, top to bottom.
var rows = []row{
	{"At a glance", []panel{
		{
			kind: "stat", title: "Instances ready", unit: "none", w: 4, h: 4, steps: goodWhenSome,
			help:    "Instances whose /readyz answers 200.",
			queries: []query{{expr: `sum(carla_rl_ready{` + jobs + `})`, legend: "ready"}},
		},
		{
			kind: "stat", title: "Requests", unit: "reqps", w: 4, h: 4,
			queries: []query{{expr: `sum(rate(http_requests_total{` + requests + `}` + every + `))`, legend: "requests"}},
		},
		{
			kind: "stat", title: "Answered with 5xx", unit: "percentunit", w: 4, h: 4, warn: 0.05,
			queries: []query{{expr: errorRatio, legend: "5xx"}},
		},
		{
			kind: "stat", title: "P95 of predictions", unit: "s", w: 4, h: 4, warn: 0.01,
			queries: []query{{expr: quantile("0.95", "http_request_duration_seconds", predicts, ""), legend: "P95"}},
		},
		{
			kind: "stat", title: "Observations", unit: "ops", w: 4, h: 4,
			help:    "Rows that policies answered: a request may carry many.",
			queries: []query{{expr: `sum(rate(carla_rl_batch_size_sum{` + models + `}` + every + `))`, legend: "observations"}},
		},
		{
			kind: "stat", title: "Versions that answer", unit: "none", w: 4, h: 4,
			help:    "More than one for a model is a rollout, or a rollout that got stuck.",
			queries: []query{{expr: `count by (model) (count by (model, version, digest) (carla_rl_model_current{` + models + `} == 1))`, legend: "{{model}}"}},
		},
	}},
	{"Traffic", []panel{
		{
			title: "Request rate by endpoint", unit: "reqps", w: 12,
			queries: []query{{expr: `sum by (method, endpoint) (rate(http_requests_total{` + requests + `}` + every + `))`, legend: "{{method}} {{endpoint}}"}},
		},
		{
			title: "Request rate by status", unit: "reqps", w: 12, stacked: true,
			queries: []query{{expr: `sum by (status) (rate(http_requests_total{` + requests + `}` + every + `))`, legend: "{{status}}"}},
		},
		{
			title: "Request rate by instance", unit: "reqps",
			help:    "Clients that keep their connections stay on one instance.",
			queries: []query{{expr: `sum by (instance) (rate(http_requests_total{` + requests + `}` + every + `))`, legend: "{{instance}}"}},
		},
		{
			title: "Requests being answered", unit: "short",
			queries: []query{{expr: `sum by (instance) (carla_rl_active_requests{` + jobs + `})`, legend: "{{instance}}"}},
		},
		{
			title: "Open connections", unit: "short",
			queries: []query{{expr: `sum by (instance) (carla_rl_connections_open{` + jobs + `})`, legend: "{{instance}}"}},
		},
	}},
	{"Errors", []panel{
		{
			title: "Share of 5xx", unit: "percentunit", warn: 0.05,
			queries: []query{{expr: errorRatio, legend: "5xx"}},
		},
		{
			title: "Errors by code", unit: "reqps",
			help:    "The codes of docs/errors.md.",
			queries: []query{{expr: `sum by (error_type, endpoint) (rate(carla_rl_errors_total{` + jobs + `}` + every + `))`, legend: "{{error_type}} {{endpoint}}"}},
		},
		{
			title: "Turned away", unit: "reqps",
			help:    "By a limit (queue_full, deadline, connections, ...) or a check (host, unauthorized, framing, ...).",
			queries: []query{{expr: `sum by (reason) (rate(carla_rl_requests_rejected_total{` + jobs + `}` + every + `)) > 0`, legend: "{{reason}}"}},
		},
		{
			title: "Requests that a policy did not answer", unit: "reqps", w: 12,
			queries: []query{{expr: `sum by (model, version) (rate(carla_rl_inference_requests_total{` + models + `,status="error"}` + every + `))`, legend: "{{model}} {{version}}"}},
		},
		{
			title: "Panics", unit: "short", w: 12,
			help:    "Any is a bug; the stack is in the log.",
			queries: []query{{expr: `sum by (instance) (increase(carla_rl_panics_total{` + jobs + `}` + every + `))`, legend: "{{instance}}"}},
		},
	}},
	{"Latency", []panel{
		{
			title: "Latency of predictions", unit: "s", w: 12, warn: 0.01,
			help: "From the parsed request to its answer.",
			queries: []query{
				{expr: quantile("0.50", "http_request_duration_seconds", predicts, ""), legend: "P50"},
				{expr: quantile("0.95", "http_request_duration_seconds", predicts, ""), legend: "P95"},
				{expr: quantile("0.99", "http_request_duration_seconds", predicts, ""), legend: "P99"},
			},
		},
		{
			title: "P95 by instance", unit: "s", w: 12, warn: 0.01,
			queries: []query{{expr: quantile("0.95", "http_request_duration_seconds", predicts, "instance"), legend: "{{instance}}"}},
		},
	}},
	{"Stages of a request", []panel{
		{
			title: "P95 by stage", unit: "s", w: 12,
			help:    "decode: routing, checks and JSON to rows; queue: until a lane was free; policy: its run; encode: actions to JSON.",
			queries: []query{{expr: quantile("0.95", "carla_rl_stage_duration_seconds", models, "stage"), legend: "{{stage}}"}},
		},
		{
			title: "Where the time goes", unit: "s", w: 12, stacked: true,
			help:    "Mean of each stage, one on the other.",
			queries: []query{{expr: mean("carla_rl_stage_duration_seconds", models, "stage"), legend: "{{stage}}"}},
		},
		{
			title: "Run of the policy by version", unit: "s", w: 24,
			queries: []query{
				{expr: quantile("0.50", "carla_rl_inference_duration_seconds", models, "model, version"), legend: "P50 {{model}} {{version}}"},
				{expr: quantile("0.99", "carla_rl_inference_duration_seconds", models, "model, version"), legend: "P99 {{model}} {{version}}"},
			},
		},
	}},
	{"Batches, queue and lanes", []panel{
		{
			title: "Batch size", unit: "short", w: 6,
			help: "Observations in one request.",
			queries: []query{
				{expr: mean("carla_rl_batch_size", models, "model"), legend: "mean {{model}}"},
				{expr: quantile("0.95", "carla_rl_batch_size", models, "model"), legend: "P95 {{model}}"},
			},
		},
		{
			title: "Lanes busy", unit: "percentunit", max: 1, w: 6,
			help:    "Share of the lanes that run a request. All busy for long: more replicas, or more CPU and WORKERS.",
			queries: []query{{expr: `sum by (instance) (carla_rl_lanes_busy{` + jobs + `}) / sum by (instance) (carla_rl_lanes{` + jobs + `})`, legend: "{{instance}}"}},
		},
		{
			title: "Waiting in the queue", unit: "short", w: 6,
			queries: []query{
				{expr: `sum by (instance) (carla_rl_request_queue_length{` + jobs + `})`, legend: "{{instance}}"},
				{expr: `min(carla_rl_request_queue_capacity{` + jobs + `})`, legend: "room"},
			},
		},
		{
			title: "Wait for a lane", unit: "s", w: 6,
			queries: []query{
				{expr: quantile("0.50", "carla_rl_queue_seconds", jobs, ""), legend: "P50"},
				{expr: quantile("0.99", "carla_rl_queue_seconds", jobs, ""), legend: "P99"},
			},
		},
	}},
	{"Actions", []panel{
		{
			title: "Actions at a bound", unit: "percentunit", max: 1, w: 16,
			help:    "Share of an action's values that lie at its low or high bound. A pedal at 0 rests; a steering wheel at an end says that observations are not what they were in training.",
			queries: []query{{expr: `sum by (model, version, action, bound) (rate(carla_rl_action_saturated_total{` + models + `}` + every + `)) / ignoring (bound) group_left sum by (model, version, action) (rate(carla_rl_action_values_total{` + models + `}` + every + `))`, legend: "{{model}} {{version}} {{action}} {{bound}}"}},
		},
		{
			title: "Deterministic requests", unit: "percentunit", max: 1,
			queries: []query{{expr: `sum by (model) (rate(carla_rl_deterministic_requests_total{` + models + `}` + every + `)) / sum by (model) (rate(carla_rl_inference_requests_total{` + models + `,status="success"}` + every + `))`, legend: "{{model}}"}},
		},
		{
			kind: "table", title: "Bounds", unit: "none", w: 24, h: 6,
			help:    "As the contracts of the versions have them.",
			queries: []query{{expr: `max by (model, version, action, bound) (carla_rl_action_bound{` + models + `})`, legend: "", table: true}},
		},
	}},
	{"Drift", []panel{
		{
			title: "Shift of the mean", unit: "none", w: 12,
			help:    "How far the mean of each feature of the last minutes lies from that of the training, on either side, in standard deviations of the training; above 3 alerts. Of the instances the one that is farthest.",
			queries: []query{{expr: `max by (model, version, feature) (abs(carla_rl_drift_z_score{` + models + `}))`, legend: "{{model}} {{version}} {{feature}}"}},
		},
		{
			title: "Population stability index", unit: "none", w: 12,
			help:    "Against the normal distribution of the training's mean and deviation. A feature that is not normally distributed has an index of its own: what tells is how it moves.",
			queries: []query{{expr: `max by (model, version, feature) (carla_rl_drift_psi{` + models + `})`, legend: "{{model}} {{version}} {{feature}}"}},
		},
		{
			title: "Out of the range of the training", unit: "percentunit", max: 1, w: 12,
			help:    "Share of the values beyond the bounds of a feature, or farther than five standard deviations from its mean.",
			queries: []query{{expr: `max by (model, version, feature) (carla_rl_drift_out_of_range_ratio{` + models + `})`, legend: "{{model}} {{version}} {{feature}}"}},
		},
		{
			title: "Observations at a bound", unit: "percentunit", max: 1, w: 12,
			help:    "Share of the values that lie at a bound of their feature: all of them is a sensor that is dead or cannot see so far.",
			queries: []query{{expr: `max by (model, version, feature) (carla_rl_drift_saturation_ratio{` + models + `})`, legend: "{{model}} {{version}} {{feature}}"}},
		},
	}},
	{"Safety envelope", []panel{
		{
			title: "Values that the envelope changed", unit: "ops", w: 12,
			help:    "By action and kind: bound, rate and jerk are values moved to a limit; not_finite and out_of_distribution are rows replaced by the card's fallback. None is a policy that stays within its card, or one without an envelope.",
			queries: []query{{expr: `sum by (model, version, action, kind) (rate(carla_rl_interventions_total{` + models + `}` + every + `))`, legend: "{{model}} {{version}} {{action}} {{kind}}"}},
		},
		{
			title: "Share of values changed", unit: "percentunit", max: 1, w: 12,
			help:    "Of the values of actions that have a bound.",
			queries: []query{{expr: `sum by (model, version) (rate(carla_rl_interventions_total{` + models + `}` + every + `)) / sum by (model, version) (rate(carla_rl_action_values_total{` + models + `}` + every + `))`, legend: "{{model}} {{version}}"}},
		},
	}},
	{"Sessions and deadlines", []panel{
		{
			title: "Open sessions", unit: "short", w: 6,
			help: "Those that drain stay on a version which another has replaced, and keep it in memory.",
			queries: []query{
				{expr: `sum by (instance) (carla_rl_sessions{` + jobs + `})`, legend: "{{instance}}"},
				{expr: `sum by (instance) (carla_rl_sessions_draining{` + jobs + `})`, legend: "{{instance}}, draining"},
			},
		},
		{
			title: "Sessions that began and ended", unit: "ops", w: 6,
			help: "Those that expired had no request for longer than their time: a client that ends without closing its session.",
			queries: []query{
				{expr: `sum(rate(carla_rl_sessions_opened_total{` + jobs + `}` + every + `))`, legend: "opened"},
				{expr: `sum by (reason) (rate(carla_rl_sessions_ended_total{` + jobs + `}` + every + `))`, legend: "{{reason}}"},
			},
		},
		{
			title: "Memory of sessions", unit: "bytes", w: 6,
			queries: []query{{expr: `sum by (instance) (carla_rl_session_bytes{` + jobs + `})`, legend: "{{instance}}"}},
		},
		{
			title: "Refused for time and state", unit: "ops", w: 6,
			help: "Requests that could not be answered by their deadline and were not started, and states of clients that were refused, by reason.",
			queries: []query{
				{expr: `sum by (reason) (rate(carla_rl_deadline_refusals_total{` + jobs + `}` + every + `))`, legend: "deadline: {{reason}}"},
				{expr: `sum by (reason) (rate(carla_rl_session_tokens_refused_total{` + jobs + `}` + every + `))`, legend: "state: {{reason}}"},
			},
		},
		{
			title: "Open streams", unit: "short", w: 12,
			queries: []query{{expr: `sum by (instance) (carla_rl_streams{` + jobs + `})`, legend: "{{instance}}"}},
		},
		{
			title: "Streams: overtaken and ended", unit: "ops", w: 12,
			help: "Observations that a newer one overtook before they were acted on, and streams that ended, by the code that the client was told.",
			queries: []query{
				{expr: `sum(rate(carla_rl_stream_skipped_total{` + jobs + `}` + every + `))`, legend: "overtaken"},
				{expr: `sum by (code) (rate(carla_rl_stream_closes_total{` + jobs + `}` + every + `))`, legend: "ended: {{code}}"},
			},
		},
	}},
	{"Versions", []panel{
		{
			kind: "table", title: "Version in force", unit: "none", w: 12,
			help:    "Value 1: the version answers; 0: it is chosen and not ready.",
			queries: []query{{expr: `max by (job, instance, model, version, digest) (carla_rl_model_current{` + models + `})`, legend: "", table: true}},
		},
		{
			title: "Instances by version", unit: "short", w: 12, stacked: true,
			queries: []query{{expr: `count by (model, version, digest) (carla_rl_model_current{` + models + `} == 1)`, legend: "{{model}} {{version}} {{digest}}"}},
		},
		{
			title: "Load failures", unit: "short",
			queries: []query{{expr: `sum by (model, version) (carla_rl_model_load_failures_total{` + models + `})`, legend: "{{model}} {{version}}"}},
		},
		{
			title: "Mean time to load a version", unit: "s",
			help:    "Read, verified, compiled, and proven on its golden vectors, since the process started.",
			queries: []query{{expr: `sum by (instance) (carla_rl_model_loading_duration_seconds_sum{` + jobs + `}) / sum by (instance) (carla_rl_model_loading_duration_seconds_count{` + jobs + `})`, legend: "{{instance}}"}},
		},
		{
			kind: "table", title: "Builds", unit: "none",
			queries: []query{{expr: `count by (version, commit, go_version) (carla_rl_build_info{` + jobs + `})`, legend: "", table: true}},
		},
	}},
	{"Resources", []panel{
		{
			title: "CPU", unit: "short", w: 6,
			help:    "Cores in use.",
			queries: []query{{expr: `sum by (instance) (rate(process_cpu_seconds_total{` + jobs + `}` + every + `))`, legend: "{{instance}}"}},
		},
		{
			title: "Memory", unit: "bytes", w: 6,
			queries: []query{
				{expr: `sum by (instance) (process_resident_memory_bytes{` + jobs + `})`, legend: "resident {{instance}}"},
				{expr: `sum by (instance) (go_memstats_heap_inuse_bytes{` + jobs + `})`, legend: "heap {{instance}}"},
				{expr: `min(carla_rl_memory_limit_bytes{` + jobs + `}) < Inf`, legend: "limit"},
			},
		},
		{
			title: "Garbage collection", unit: "percentunit", w: 6,
			help:    "Share of time that the process was paused for it.",
			queries: []query{{expr: `sum by (instance) (rate(go_gc_duration_seconds_sum{` + jobs + `}` + every + `))`, legend: "{{instance}}"}},
		},
		{
			title: "Goroutines and open files", unit: "short", w: 6,
			queries: []query{
				{expr: `sum by (instance) (go_goroutines{` + jobs + `})`, legend: "goroutines {{instance}}"},
				{expr: `sum by (instance) (process_open_fds{` + jobs + `})`, legend: "files {{instance}}"},
			},
		},
		{
			title: "Up for", unit: "s", w: 12,
			queries: []query{{expr: `sum by (instance) (carla_rl_service_uptime_seconds{` + jobs + `})`, legend: "{{instance}}"}},
		},
		{
			title: "Allocated", unit: "Bps", w: 12,
			help:    "A prediction allocates nothing; what is seen here are scrapes, errors and connections.",
			queries: []query{{expr: `sum by (instance) (rate(go_memstats_alloc_bytes_total{` + jobs + `}` + every + `))`, legend: "{{instance}}"}},
		},
	}},
}
