package config

import (
	"fmt"
	"slices"
	"strings"
)

// setting ties one value of a Config to its names. Each setting has a key in
// the file and may have a variable and a flag; there are no other spellings.
type setting struct {
	key   string
	env   string
	flag  string
	dst   any // pointer into a Config
	doc   string
	check func() error // nil where the type says it all
	idle  bool         // read and checked, without an effect yet
}

// settings returns the table of c. The names of the deployment guide stand as
// they are; variables that the guide does not know begin with CARLA_RL_, so
// that they cannot clash with those that Kubernetes makes of service names.
func (c *Config) settings() []setting {
	s, m, mon, sec, ses, opt, exp := &c.Server, &c.Model, &c.Monitoring, &c.Security, &c.Sessions, &c.Optimization, &c.Experience
	return []setting{
		{key: "server.host", env: "HOST", flag: "host", dst: &s.Host, check: hostname(&s.Host),
			doc: "Address to listen on. Only this machine can connect unless it is set; 0.0.0.0 is every address, and unix:///path a Unix domain socket in place of address and port."},
		{key: "server.socket_mode", env: "CARLA_RL_SOCKET_MODE", dst: &s.SocketMode, check: mode(&s.SocketMode),
			doc: "Who may connect to a Unix domain socket: the mode of its file in octal. The default is the user and the group of the process."},
		{key: "server.port", env: "PORT", flag: "port", dst: &s.Port, check: between(&s.Port, 0, 65535),
			doc: "Port to listen on; 0 takes a free one."},
		{key: "server.workers", env: "WORKERS", flag: "workers", dst: &s.Workers, check: between(&s.Workers, 0, 1024),
			doc: "Inference lanes: requests that run at the same time. 0 takes the CPU quota of the container, or the number of cores."},
		{key: "server.log_level", env: "LOG_LEVEL", flag: "log-level", dst: &s.LogLevel, check: level(&s.LogLevel),
			doc: "Least level that is logged: debug, info, warn or error, in any case."},
		{key: "server.access_log", env: "ACCESS_LOG", dst: &s.AccessLog,
			doc: "Write one log line for each request; for those to health and metrics routes only at level debug."},
		{key: "server.console", env: "CARLA_RL_CONSOLE", dst: &s.Console,
			doc: "Serve the [console](console.md), a page for browsers, at /console and at /."},
		{key: "server.admin_listen", env: "CARLA_RL_ADMIN_LISTEN", dst: &s.AdminListen, check: listening(&s.AdminListen),
			doc: "Where the routes under /admin are answered, and nowhere else: an address with a port, such as 127.0.0.1:8081, or unix:///path. Empty answers them on the port of the server. See [administration](security.md#administration)."},
		{key: "server.tls_cert_file", env: "CARLA_RL_TLS_CERT_FILE", dst: &s.TLSCertFile,
			doc: "Certificate chain in PEM; with it the server speaks TLS only."},
		{key: "server.tls_key_file", env: "CARLA_RL_TLS_KEY_FILE", dst: &s.TLSKeyFile,
			doc: "Private key of the certificate in PEM."},
		{key: "server.tls_client_ca_file", env: "CARLA_RL_TLS_CLIENT_CA_FILE", dst: &s.TLSClientCAFile,
			doc: "Certificates in PEM of which one must have signed that of a client; with it a client without such a certificate is not spoken to."},
		{key: "server.tls_min_version", env: "CARLA_RL_TLS_MIN_VERSION", dst: &s.TLSMinVersion, check: oneOf(&s.TLSMinVersion, "1.2", "1.3"),
			doc: "Oldest version of TLS that is spoken: 1.2 or 1.3."},
		{key: "server.max_connections", env: "CARLA_RL_MAX_CONNECTIONS", dst: &s.MaxConnections, check: between(&s.MaxConnections, 1, 1<<20),
			doc: "Connections open at the same time."},
		{key: "server.max_connections_per_ip", env: "CARLA_RL_MAX_CONNECTIONS_PER_IP", dst: &s.MaxConnectionsPerIP, check: between(&s.MaxConnectionsPerIP, 0, 1<<20),
			doc: "Connections open at the same time from one address; 0 is no limit."},
		{key: "server.max_header_size", env: "CARLA_RL_MAX_HEADER_SIZE", dst: &s.MaxHeaderSize, check: sized(&s.MaxHeaderSize, 1<<10, 1<<20),
			doc: "Size of the request line and all header fields."},
		{key: "server.max_header_fields", env: "CARLA_RL_MAX_HEADER_FIELDS", dst: &s.MaxHeaderFields, check: between(&s.MaxHeaderFields, 8, 10_000),
			doc: "Header fields of one request."},
		{key: "server.max_buffered_bytes", env: "CARLA_RL_MAX_BUFFERED_BYTES", dst: &s.MaxBufferedBytes, check: sized(&s.MaxBufferedBytes, 1<<20, 1<<40),
			doc: "Memory for the bodies above 32 KiB of all connections together, at least security.max_request_size; one address has half of it, or room for one body."},
		{key: "server.max_rows", env: "CARLA_RL_MAX_ROWS", dst: &s.MaxRows, check: between(&s.MaxRows, 1, 100_000),
			doc: "Observations in one request."},
		{key: "server.max_queue", env: "CARLA_RL_MAX_QUEUE", dst: &s.MaxQueue, check: between(&s.MaxQueue, 0, 1<<20),
			doc: "Requests that wait for a lane at the same time; beyond it a request is refused at once."},
		{key: "server.header_timeout", env: "CARLA_RL_HEADER_TIMEOUT", dst: &s.HeaderTimeout, check: lasting(&s.HeaderTimeout),
			doc: "Time from the first byte of a request to the end of its header."},
		{key: "server.body_timeout", env: "CARLA_RL_BODY_TIMEOUT", dst: &s.BodyTimeout, check: lasting(&s.BodyTimeout),
			doc: "Time to read a large body."},
		{key: "server.idle_timeout", env: "CARLA_RL_IDLE_TIMEOUT", dst: &s.IdleTimeout, check: lasting(&s.IdleTimeout),
			doc: "Time between two requests of one connection."},
		{key: "server.write_timeout", env: "CARLA_RL_WRITE_TIMEOUT", dst: &s.WriteTimeout, check: lasting(&s.WriteTimeout),
			doc: "Time to write an answer."},
		{key: "server.request_timeout", env: "CARLA_RL_REQUEST_TIMEOUT", dst: &s.RequestTimeout, check: lasting(&s.RequestTimeout),
			doc: "Time from the decoded request to its action; a request that waits longer for a lane is refused."},
		{key: "server.max_clock_skew", env: "CARLA_RL_MAX_CLOCK_SKEW", dst: &s.MaxClockSkew, check: lasting(&s.MaxClockSkew),
			doc: "How far ahead of the server's clock the `observed_at` of a request may be; it counts as now."},
		{key: "server.max_observation_age", env: "CARLA_RL_MAX_OBSERVATION_AGE", dst: &s.MaxObservationAge, check: lasting(&s.MaxObservationAge),
			doc: "How far behind the server's clock the `observed_at` of a request may be."},
		{key: "server.max_streams", env: "CARLA_RL_MAX_STREAMS", dst: &s.MaxStreams, check: between(&s.MaxStreams, 1, 1<<20),
			doc: "Streams (WebSocket) open at the same time. Each is a connection and a session as well."},
		{key: "server.max_stream_message", env: "CARLA_RL_MAX_STREAM_MESSAGE", dst: &s.MaxStreamMessage, check: sized(&s.MaxStreamMessage, 1<<10, 1<<30),
			doc: "Size of one message of a stream, its fragments together."},
		{key: "server.stream_ping", env: "CARLA_RL_STREAM_PING", dst: &s.StreamPing, check: lasting(&s.StreamPing),
			doc: "How long a stream may be silent before its client is asked whether it is there; after twice as long it is closed."},
		{key: "server.max_admin_acts", env: "CARLA_RL_MAX_ADMIN_ACTS", dst: &s.MaxAdminActs, check: between(&s.MaxAdminActs, 1, 64),
			doc: "Acts of admins (reload, rollback) under way at the same time, and connections that server.admin_listen takes besides."},
		{key: "server.reload_timeout", env: "CARLA_RL_RELOAD_TIMEOUT", dst: &s.ReloadTimeout, check: lasting(&s.ReloadTimeout),
			doc: "How long a reload that an admin asks for is waited for; the reload itself goes on."},
		{key: "server.drain_delay", env: "CARLA_RL_DRAIN_DELAY", dst: &s.DrainDelay, check: upTo(&s.DrainDelay),
			doc: "How long a stopping server says that it is not ready before it closes connections."},
		{key: "server.drain_accept", env: "CARLA_RL_DRAIN_ACCEPT", dst: &s.DrainAccept, check: lasting(&s.DrainAccept),
			doc: "How long a stopping server then takes connections while it asks each to close, and how long it serves those that are left after it closed its port."},
		{key: "server.drain_timeout", env: "CARLA_RL_DRAIN_TIMEOUT", dst: &s.DrainTimeout, check: lasting(&s.DrainTimeout),
			doc: "How long a stopping server waits for requests that it has begun."},

		{key: "model.artifact_dir", env: "ARTIFACT_DIR", flag: "PATH", dst: &m.ArtifactDir,
			doc: "Folder of an artifact, of versions or of models, or one model file. Empty serves the demo policy inside the program."},
		{key: "model.version", env: "MODEL_VERSION", flag: "model-version", dst: &m.Version, check: version(&m.Version),
			doc: "Version that answers: one such as v0.1.0, latest, stable, or a constraint such as ^0.1.0. Empty is the latest stable one. The server does not start with a version that is not there. Of several models it is the version of the default one, or of each where there is no default."},
		{key: "model.default", env: "CARLA_RL_DEFAULT_MODEL", dst: &m.Default,
			doc: "Model that answers /predict where there are several."},
		{key: "model.use_gpu", env: "USE_GPU", dst: &m.UseGPU,
			doc: "Run on a GPU, by CUDA: model.engine is then onnxruntime. A build without ONNX Runtime refuses to start with it."},
		{key: "model.engine", env: "CARLA_RL_ENGINE", dst: &m.Engine, check: engine(&m.Engine),
			doc: "What runs the policy: plan, onnxruntime, or auto, which is onnxruntime for a policy with an operator that the plan lacks. native is another name of plan. A build without ONNX Runtime refuses to start with onnxruntime."},
		{key: "model.onnxruntime_library", env: "CARLA_RL_ONNXRUNTIME_LIB", dst: &m.ONNXRuntimeLibrary,
			doc: "ONNX Runtime's shared library (libonnxruntime.so of version 1.24 or newer), or the folder that holds it. Empty looks in the cache that make test-ort fills, then where the system's loader looks."},
		{key: "model.gpu_memory_fraction", env: "CARLA_RL_GPU_MEMORY_FRACTION", dst: &m.GPUMemoryFraction, check: fraction(&m.GPUMemoryFraction),
			doc: "Part of the GPU's memory that each policy may take, above 0 and up to 1."},
		{key: "model.require_hashes", env: "CARLA_RL_REQUIRE_HASHES", dst: &m.RequireHashes,
			doc: "Refuse an artifact whose card does not give the SHA-256 of each of its files."},
		{key: "model.max_models", env: "CARLA_RL_MAX_MODELS", dst: &m.MaxModels, check: between(&m.MaxModels, 1, 4096),
			doc: "Models under the artifact folder."},
		{key: "model.max_versions", env: "CARLA_RL_MAX_VERSIONS", dst: &m.MaxVersions, check: between(&m.MaxVersions, 1, 1024),
			doc: "Versions of one model that are loaded, the one that answers and the newest others; the rest are only listed."},
		{key: "model.max_model_size", env: "CARLA_RL_MAX_MODEL_SIZE", dst: &m.MaxModelSize, check: sized(&m.MaxModelSize, 1<<10, 1<<40),
			doc: "Size of a model file."},
		{key: "model.max_preprocessor_size", env: "CARLA_RL_MAX_PREPROCESSOR_SIZE", dst: &m.MaxPreprocessorSize, check: sized(&m.MaxPreprocessorSize, 1<<10, 1<<40),
			doc: "Size of a preprocessor file."},
		{key: "model.loaders", env: "CARLA_RL_LOADERS", dst: &m.Loaders, check: between(&m.Loaders, 0, 64),
			doc: "Versions that load at the same time when the server starts; 0 is as many as there are lanes. Later they load one at a time."},
		{key: "model.poll_interval", env: "CARLA_RL_POLL_INTERVAL", dst: &m.PollInterval, check: upTo(&m.PollInterval),
			doc: "How often the artifact folder is looked at for changes, which are taken once two looks in a row saw the same; 0 only looks when a reload is asked for."},
		{key: "model.quarantine_after", env: "CARLA_RL_QUARANTINE_AFTER", dst: &m.QuarantineAfter, check: between(&m.QuarantineAfter, 0, 1<<20),
			doc: "Unusable answers (INFERENCE_ERROR, panics) one after another, after which a version is taken out of service; 0 never does."},
		{key: "model.load_timeout", env: "CARLA_RL_LOAD_TIMEOUT", dst: &m.LoadTimeout, check: lasting(&m.LoadTimeout),
			doc: "How long it may take to load one version."},
		{key: "model.max_load_memory", env: "CARLA_RL_MAX_LOAD_MEMORY", dst: &m.MaxLoadMemory, check: sized(&m.MaxLoadMemory, 0, 1<<44),
			doc: "Memory that loading one version may take, judged as four times the size of its files; 0 is what the memory limit of the process leaves."},
		{key: "model.max_graph_nodes", env: "CARLA_RL_MAX_GRAPH_NODES", dst: &m.MaxGraphNodes, check: between(&m.MaxGraphNodes, 1, 1<<16),
			doc: "Operations in the graph of a policy, its preprocessing among them."},

		{key: "monitoring.enable_metrics", env: "ENABLE_METRICS", dst: &mon.EnableMetrics,
			doc: "Answer /metrics."},
		{key: "monitoring.metrics_port", env: "METRICS_PORT", dst: &mon.MetricsPort, check: between(&mon.MetricsPort, 0, 65535),
			doc: "Port of /metrics. 0, or the port of the server, answers it there."},
		{key: "monitoring.enable_tracing", env: "ENABLE_TRACING", dst: &mon.EnableTracing,
			doc: "Send OpenTelemetry spans over OTLP/HTTP to where the standard OTEL_* variables say."},
		{key: "monitoring.log_format", env: "LOG_FORMAT", dst: &mon.LogFormat, check: oneOf(&mon.LogFormat, "auto", "json", "text"),
			doc: "Form of log lines: json, text, or auto for text on a terminal and json elsewhere."},
		{key: "monitoring.log_file", env: "LOG_FILE", dst: &mon.LogFile,
			doc: "File for log lines, always in JSON. Empty writes to the standard output."},
		{key: "monitoring.log_file_max_size", env: "CARLA_RL_LOG_FILE_MAX_SIZE", dst: &mon.LogFileMaxSize, check: sized(&mon.LogFileMaxSize, 1<<20, 1<<40),
			doc: "Size at which the log file is put aside and a new one begun."},
		{key: "monitoring.log_file_max_count", env: "CARLA_RL_LOG_FILE_MAX_COUNT", dst: &mon.LogFileMaxCount, check: between(&mon.LogFileMaxCount, 1, 1000),
			doc: "Log files put aside that are kept."},

		{key: "security.api_key", env: "API_KEY", dst: &sec.APIKey, check: secretText(&sec.APIKey),
			doc: "Key that clients show in X-API-Key or Authorization. Better kept in a file."},
		{key: "security.api_key_file", env: "API_KEY_FILE", dst: &sec.APIKeyFile,
			doc: "File with one key on each line."},
		{key: "security.admin_key", env: "CARLA_RL_ADMIN_KEY", dst: &sec.AdminKey, check: secretText(&sec.AdminKey),
			doc: "Key of those who may change what is served, by the routes under /admin; it is taken by the other routes too. Without one those routes are off. Better kept in a file."},
		{key: "security.admin_key_file", env: "CARLA_RL_ADMIN_KEY_FILE", dst: &sec.AdminKeyFile,
			doc: "File with one such key on each line."},
		{key: "security.keys_file", env: "CARLA_RL_KEYS_FILE", dst: &sec.KeysFile,
			doc: "File with the hashes of keys, each with a name, scopes (infer, metrics, admin) and, where they are wanted, a rate and an expiry: the lines that `carla-rl key new` prints. See [API keys](security.md#api-keys)."},
		{key: "security.reload_interval", env: "CARLA_RL_SECURITY_RELOAD_INTERVAL", dst: &sec.ReloadInterval, check: upTo(&sec.ReloadInterval),
			doc: "How often the files of keys and of TLS are looked at for changes, which are taken without a restart; 0 reads them once."},
		{key: "security.cors_origins", env: "CORS_ORIGINS", dst: &sec.CORSOrigins, check: origins(&sec.CORSOrigins),
			doc: "Origins whose pages may call the server, such as https://example.com, or *. Empty allows none."},
		{key: "security.allowed_hosts", env: "ALLOWED_HOSTS", dst: &sec.AllowedHosts, check: hosts(&sec.AllowedHosts),
			doc: "Names that a Host header may carry: example.com, *.example.com, or *. Empty allows all, or, where the server listens on this machine only, localhost and loopback addresses. Health and metrics routes answer under any name."},
		{key: "security.max_request_size", env: "CARLA_RL_MAX_REQUEST_SIZE", dst: &sec.MaxRequestSize, check: sized(&sec.MaxRequestSize, 1<<10, 1<<30),
			doc: "Size of a request's body."},
		{key: "security.rate_limit", env: "CARLA_RL_RATE_LIMIT", dst: &sec.RateLimit,
			doc: "Requests in a time from one client, such as 1000/min: from one key, or from one address where no key is shown. Each message of a stream is one; health and metrics routes are none. Empty is no limit."},

		{key: "sessions.max", env: "CARLA_RL_MAX_SESSIONS", dst: &ses.Max, check: between(&ses.Max, 1, 1<<24),
			doc: "Sessions open at the same time; beyond it another one is refused."},
		{key: "sessions.ttl", env: "CARLA_RL_SESSION_TTL", dst: &ses.TTL, check: days(&ses.TTL),
			doc: "Time after which a session without a request ends, where it does not say itself."},
		{key: "sessions.max_ttl", env: "CARLA_RL_SESSION_MAX_TTL", dst: &ses.MaxTTL, check: days(&ses.MaxTTL),
			doc: "The longest such time that a session may ask for."},
		{key: "sessions.max_bytes", env: "CARLA_RL_SESSION_MAX_BYTES", dst: &ses.MaxBytes, check: sized(&ses.MaxBytes, 1<<16, 1<<40),
			doc: "Memory for the states of all sessions together; beyond it another one is refused."},
		{key: "sessions.token_key", env: "CARLA_RL_SESSION_TOKEN_KEY", dst: &ses.TokenKey, check: tokenKeyText(&ses.TokenKey),
			doc: "Key that seals the state which clients carry, of 32 characters or more; several with commas between them: the first seals, all open. Replicas that share clients need the same. Empty draws one that ends with the process. Better kept in a file."},
		{key: "sessions.token_key_file", env: "CARLA_RL_SESSION_TOKEN_KEY_FILE", dst: &ses.TokenKeyFile,
			doc: "File with one such key on each line."},
		{key: "sessions.token_ttl", env: "CARLA_RL_SESSION_TOKEN_TTL", dst: &ses.TokenTTL, check: days(&ses.TokenTTL),
			doc: "Age up to which a state that a client carries is taken."},
		{key: "sessions.max_token_size", env: "CARLA_RL_SESSION_MAX_TOKEN_SIZE", dst: &ses.MaxTokenSize, check: sized(&ses.MaxTokenSize, 1<<10, 1<<30),
			doc: "Size of a state that a client carries, all rows together."},

		{key: "drift.sample_every", env: "CARLA_RL_DRIFT_SAMPLE_EVERY", dst: &c.Drift.SampleEvery, check: between(&c.Drift.SampleEvery, 0, 1<<20),
			doc: "Of how many observations one is held to the statistics of the training, on average; 0 measures no [drift](monitoring/drift.md)."},
		{key: "drift.window", env: "CARLA_RL_DRIFT_WINDOW", dst: &c.Drift.Window, check: days(&c.Drift.Window),
			doc: "How far back drift is measured."},
		{key: "drift.max_features", env: "CARLA_RL_DRIFT_MAX_FEATURES", dst: &c.Drift.MaxFeatures, check: between(&c.Drift.MaxFeatures, 1, 4096),
			doc: "Values of an observation whose drift is measured, each of which is four series; those beyond are left out."},

		{key: "optimization.enable_memory_pinning", env: "CARLA_RL_ENABLE_MEMORY_PINNING", dst: &opt.EnableMemoryPinning,
			doc: "Keep the weights of policies and the memory between their steps in pages that are there from the start and are never swapped. Where RLIMIT_MEMLOCK forbids it the server says so and serves from ordinary memory."},
		{key: "optimization.pin_cores", env: "CARLA_RL_PIN_CORES", dst: &opt.PinCores, check: cores(&opt.PinCores),
			doc: "Cores that the process keeps to: off, auto for as many as there are lanes, or a list such as 2,4-7."},
		{key: "optimization.cache_size", env: "CARLA_RL_CACHE_SIZE", dst: &opt.CacheSize, check: between(&opt.CacheSize, 0, 1<<24),
			doc: "Answers that are kept, and given to requests with the same observation, bit for bit: of policies without state whose action is not drawn. 0 keeps none."},
		{key: "optimization.cache_max_bytes", env: "CARLA_RL_CACHE_MAX_BYTES", dst: &opt.CacheMaxBytes, check: sized(&opt.CacheMaxBytes, 1<<10, 1<<36),
			doc: "Memory for the answers that are kept, with what they answer."},
		{key: "optimization.batch_size", env: "CARLA_RL_BATCH_SIZE", dst: &opt.BatchSize, check: between(&opt.BatchSize, 1, 4096),
			doc: "Observations that run as one, of requests that wait for the same policy while every lane is busy. 1 runs each request by itself. A request that finds a lane free is never held up."},
		{key: "optimization.max_delay", env: "CARLA_RL_MAX_DELAY", dst: &opt.MaxDelay, check: delaying(&opt.MaxDelay),
			doc: "Time that a request waits for others to run with, also while a lane is free. 0 does not wait."},
		{key: "optimization.determinism", env: "CARLA_RL_DETERMINISM", dst: &opt.Determinism, check: oneOf(&opt.Determinism, "strict", "fast"),
			doc: "strict gives an observation the same bits in every batch and beside any other. fast adds the terms of layers of 13 to 32 outputs in another order where an observation runs alone."},
		{key: "optimization.enable_jit", env: "CARLA_RL_ENABLE_JIT", dst: &opt.EnableJIT, idle: true,
			doc: "Known from the Python server; policies are always compiled here."},
		{key: "optimization.enable_avx", env: "CARLA_RL_ENABLE_AVX", dst: &opt.EnableAVX, idle: true,
			doc: "Known from the Python server; the vector units of the CPU are always used here."},
		{key: "optimization.enable_mkl", env: "CARLA_RL_ENABLE_MKL", dst: &opt.EnableMKL, idle: true,
			doc: "Known from the Python server; there is no MKL here."},

		{key: "database.url", env: "DATABASE_URL", dst: &c.Database.URL, check: databaseURL(&c.Database.URL),
			doc: "Where [experience](experience.md) is kept: sqlite:///app/logs/experience.db for a file, postgres://... for a database. Nothing is recorded without one."},
		{key: "database.url_file", env: "DATABASE_URL_FILE", dst: &c.Database.URLFile,
			doc: "File with that URL."},

		{key: "experience.mode", env: "CARLA_RL_EXPERIENCE_MODE", dst: &exp.Mode, check: oneOf(&exp.Mode, "buffered", "durable"),
			doc: "buffered answers at once and writes steps soon after; what is lost is counted. durable answers when the step is on the disk."},
		{key: "experience.on_failure", env: "CARLA_RL_EXPERIENCE_ON_FAILURE", dst: &exp.OnFailure, check: oneOf(&exp.OnFailure, "serve", "stop"),
			doc: "What becomes of requests while steps cannot be written: serve answers them and counts what is lost, stop refuses them with 503 and says that the server is not ready."},
		{key: "experience.sample", env: "CARLA_RL_EXPERIENCE_SAMPLE", dst: &exp.Sample, check: fraction(&exp.Sample),
			doc: "Part of the sessions that is recorded, each whole or not at all; of requests without a session, part of them."},
		{key: "experience.buffer", env: "CARLA_RL_EXPERIENCE_BUFFER", dst: &exp.Buffer, check: sized(&exp.Buffer, 64<<10, 4<<30),
			doc: "Memory for steps that are not written yet; the next power of two is taken. A request may need a quarter of it."},
		{key: "experience.flush_interval", env: "CARLA_RL_EXPERIENCE_FLUSH_INTERVAL", dst: &exp.FlushInterval, check: lasting(&exp.FlushInterval),
			doc: "How long a step waits for others that are written with it, which is also what a killed process loses at most. In mode durable none waits."},
		{key: "experience.commit_timeout", env: "CARLA_RL_EXPERIENCE_COMMIT_TIMEOUT", dst: &exp.CommitTimeout, check: lasting(&exp.CommitTimeout),
			doc: "How long an answer of mode durable waits for the disk; then it leaves, or is refused, as experience.on_failure says."},
		{key: "experience.max_age", env: "CARLA_RL_EXPERIENCE_MAX_AGE", dst: &exp.MaxAge, check: keeping(&exp.MaxAge),
			doc: "Age at which steps are deleted, such as 720h; 0 keeps them."},
		{key: "experience.max_bytes", env: "CARLA_RL_EXPERIENCE_MAX_BYTES", dst: &exp.MaxBytes, check: sized(&exp.MaxBytes, 0, 1<<50),
			doc: "Size of the log beyond which the oldest steps are deleted; 0 keeps them. In a database of PostgreSQL it is that of the steps of all servers that record there together."},
		{key: "experience.spool_dir", env: "CARLA_RL_EXPERIENCE_SPOOL_DIR", dst: &exp.SpoolDir,
			doc: "Folder of this server alone in which steps wait while a database of PostgreSQL is away; off has none. Empty is spool in /app/logs where that is there, in the log folder of systemd, or else in the user's cache folder, as carla-rl/spool."},
		{key: "experience.spool_size", env: "CARLA_RL_EXPERIENCE_SPOOL_SIZE", dst: &exp.SpoolSize, check: sized(&exp.SpoolSize, 1<<20, 1<<44),
			doc: "Size of that folder; what comes when it is full stays in experience.buffer, and is lost and counted when that is full too."},

		{key: "build.git_sha", env: "GIT_SHA", dst: &c.Build.GitSHA, check: short(&c.Build.GitSHA, 64),
			doc: "Commit that /healthz shows, where the program was built without one."},
	}
}

// otherVariables are read by the program and are no settings.
var otherVariables = []string{"CONFIG_FILE"}

// Setting is one row of the reference.
type Setting struct {
	Key     string
	Env     string // "" where there is none
	Flag    string // without dashes; PATH is the argument
	Type    string
	Default string // as it would be written
	Doc     string
	Secret  bool
	Idle    bool // read and checked, without an effect yet
}

// Reference returns every setting, in the order of the sections.
func Reference() []Setting {
	var out []Setting
	for _, s := range Default().settings() {
		_, secret := s.dst.(*Secret)
		row := Setting{Key: s.key, Env: s.env, Flag: s.flag, Type: typeName(s.dst), Default: format(s.dst), Doc: s.doc, Secret: secret, Idle: s.idle}
		if s.key == "server.workers" {
			row.Default = "CPU quota"
		}
		out = append(out, row)
	}
	return out
}

// Markdown returns the tables of the reference, one for each section.
func Markdown() string {
	var b strings.Builder
	section := ""
	for _, r := range Reference() {
		if name, _, _ := strings.Cut(r.Key, "."); name != section {
			section = name
			fmt.Fprintf(&b, "\n## %s\n\n| key | variable | flag | type | default | meaning |\n|---|---|---|---|---|---|\n", section)
		}
		flag := r.Flag
		switch {
		case flag == "":
		case flag == strings.ToUpper(flag):
			flag = "`" + flag + "`"
		default:
			flag = "`--" + flag + "`"
		}
		def := r.Default
		if def != "" {
			def = "`" + def + "`"
		}
		doc := r.Doc
		if r.Idle {
			doc += " *Read and checked; it has no effect yet.*"
		}
		fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s | %s | %s |\n", r.Key, r.Env, flag, r.Type, strings.ReplaceAll(def, "|", "\\|"), strings.ReplaceAll(doc, "|", "\\|"))
	}
	return strings.TrimPrefix(b.String(), "\n")
}

// Keys returns the keys of all settings.
func Keys() []string {
	var keys []string
	for _, s := range Default().settings() {
		keys = append(keys, s.key)
	}
	return slices.Clip(keys)
}
