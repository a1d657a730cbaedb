package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
	"github.com/carla-rl/carla-rl-serving/internal/config"
	"github.com/carla-rl/carla-rl-serving/internal/demo"
	"github.com/carla-rl/carla-rl-serving/internal/machine"
	"github.com/carla-rl/carla-rl-serving/internal/ort"
	"github.com/carla-rl/carla-rl-serving/internal/policy"
	"github.com/carla-rl/carla-rl-serving/internal/repository"
	"github.com/carla-rl/carla-rl-serving/internal/server"
	"github.com/carla-rl/carla-rl-serving/internal/telemetry"
)

// serveCmd serves policies until it is told to stop. Its flags are the
// strongest of the sources of the configuration.
type serveCmd struct {
	Path         string `arg:"" optional:"" help:"Artifact folder, folder of versions or models, or a model file. Default: ARTIFACT_DIR, or else the demo policy."`
	Host         string `placeholder:"ADDRESS" help:"Address to listen on, or unix:///path (HOST). Default: 127.0.0.1."`
	Port         string `placeholder:"N" help:"Port to listen on (PORT); 0 takes a free one. Default: 8080."`
	ModelVersion string `placeholder:"VERSION" help:"Version that answers (MODEL_VERSION): v0.1.0, latest, stable, ^0.1.0. Default: the newest stable one."`
	Workers      string `placeholder:"N" help:"Requests that run at the same time (WORKERS). Default: the CPU quota."`
	LogLevel     string `placeholder:"LEVEL" help:"debug, info, warn or error (LOG_LEVEL). Default: info."`
	Config       string `placeholder:"FILE" help:"Configuration file (CONFIG_FILE). Default: /app/config/config.yaml where it exists."`
}

// Help gives examples.
func (c *serveCmd) Help() string {
	return `Examples:
  carla-rl serve                                  the demo policy on http://127.0.0.1:8080
  carla-rl serve ./artifacts --port 9000
  ARTIFACT_DIR=/srv/policies MODEL_VERSION=^1.2.0 carla-rl serve --host 0.0.0.0

Settings come from the configuration file, the environment and flags, the later
stronger; carla-rl check config FILE checks one.`
}

// announceAfter is how long the line with the URL waits for the first load: a
// server that is ready in milliseconds can say so in the same breath.
const announceAfter = 2 * time.Second

// Run is the life of a server, from its settings to its last answer.
func (c *serveCmd) Run(s stdio) (err error) {
	cfg, notes, err := c.settings()
	if err != nil {
		return usage(err)
	}
	log, logFile, err := telemetry.NewLogger(logOptions(cfg, s.out))
	if err != nil {
		return err
	}
	defer logFile.Close()
	info := build()
	pinned, err := pinCores(cfg)
	if err != nil {
		return usage(err)
	}
	collector := machine.StartCollector(machine.MemoryLimit(os.DirFS("/")))
	log.Info("starting", append([]any{"event_type", "startup", "version", info.Version, "commit", info.Commit, "config_file", cfg.File}, resources(cfg, collector, pinned)...)...)
	for _, note := range notes {
		log.Warn("configuration", "event_type", "startup", "note", note)
	}

	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	metrics := telemetry.NewMetrics(telemetry.MetricsOptions{Version: info.Version, Commit: info.Commit, BuildDate: info.Date})
	var tracer *telemetry.Tracer
	if cfg.Monitoring.EnableTracing {
		tracer = telemetry.NewTracer(ctx, telemetry.TraceOptions{Version: info.Version, Logger: log})
	}
	defer shutdown("traces", log, tracer.Shutdown)

	in, err := inheritListeners()
	if err != nil {
		return err
	}
	adopt(cfg, in, log)
	ln := in.http
	if ln == nil {
		if ln, err = listenServer(cfg); err != nil {
			return err
		}
	}
	defer ln.Close()
	admins, err := listenAdmin(cfg, in.admin)
	if err != nil {
		return err
	}
	if admins != nil {
		defer admins.Close()
	}
	keys, err := openKeys(cfg)
	if err != nil {
		return usage(err)
	}
	scrapes, err := serveMetrics(cfg, in.metrics, keys, metrics, log)
	if err != nil {
		return err
	}
	defer shutdown("metrics", log, scrapes.Shutdown)

	if pinned.Note != "" {
		log.Warn("cores", "event_type", "startup", "note", pinned.Note)
	}
	locked := lockedMemory(log)
	metrics.LockedMemory(locked.Bytes, locked.Failures)
	engine, err := serveEngine(&cfg.Model, planEngine(cfg, locked), log)
	if err != nil {
		return err
	}
	root := c.repository(cfg, metrics, log)
	root.Happened = func(e repository.Event) { happened(e, metrics, log) }
	root.Open = func(a *artifact.Artifact) (*policy.Policy, error) {
		return policy.Open(a, policy.Options{Engine: engine, MaxNodes: cfg.Model.MaxGraphNodes})
	}
	repo, err := repository.Open(ctx, root)
	if err != nil {
		return rootHint(err)
	}
	defer closeRepository(repo, log)
	for _, note := range repo.Notes() {
		log.Warn("artifact root", "event_type", "startup", "note", note)
	}
	recorder, err := openExperience(ctx, cfg, metrics, log)
	if err != nil {
		return err
	}
	defer closeExperience(recorder, log)
	service := newService(cfg, recorder, metrics)
	metrics.Current(func() []telemetry.CurrentVersion { return current(repo) })
	metrics.Versions(func() []telemetry.VersionState { return versionStates(repo) })
	metrics.Root(func() time.Time { return repo.Looked().At }, repo.InMemory)

	o, err := serverOptions(cfg, keys, info, metrics, tracer, log)
	if err != nil {
		return err
	}
	o.Recording = recorder != nil
	if recorder != nil {
		o.Experience = recorded{recorder}
	}
	if o.Sessions, err = openSessions(cfg, metrics, log); err != nil {
		return err
	}
	defer o.Sessions.Shutdown()
	o.Observations = measureDrift(&cfg.Drift, metrics, log)
	srv, err := server.New(&backend{repo: repo, service: service, recorder: recorder, drift: &cfg.Drift, root: shownRoot(cfg)}, o)
	if err != nil {
		return usage(err)
	}
	certs, err := openCertificates(cfg)
	if err != nil {
		return usage(err)
	}
	metrics.CertificateExpiry(certs.expiry)
	ln = certs.secure(ln)
	watched := watch(ctx, cfg.Security.ReloadInterval, metrics, log, keysFiles(cfg, keys), certs.files(cfg))
	defer func() { cancel(); <-watched }()
	served := make(chan error, 2)
	if admins != nil {
		log.Info("the routes of admins have an address of their own", "event_type", "startup", "address", admins.Addr().String())
		go func() { served <- srv.ServeAdmin(certs.secure(admins)) }()
	}
	go func() {
		if in.http != nil {
			// Requests wait in the socket's queue, as they did while there
			// was no process: they are answered late and not with 503.
			_ = repo.Wait(ctx)
		}
		served <- srv.Serve(ln)
	}()
	told := make(chan struct{})
	go func() {
		defer close(told)
		ready(ctx, repo, log)
		settle(ctx, collector, log)
	}()
	defer func() { cancel(); <-told }()
	c.announce(s, cfg, ln.Addr(), repo, signals)

	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", errors.Join(err, errors.New("the listener ended by itself")))
	case sig := <-signals:
		log.Info("told to stop", "event_type", "shutdown", "signal", sig.String())
	}
	tellManager(log, "STOPPING=1")
	return drain(srv, signals, cfg.Server.DrainTimeout, log)
}

// settings loads the configuration with the flags on top.
func (c *serveCmd) settings() (*config.Config, []string, error) {
	flags := map[string]string{}
	for key, value := range map[string]string{
		"model.artifact_dir": c.Path,
		"model.version":      c.ModelVersion,
		"server.host":        c.Host,
		"server.port":        c.Port,
		"server.workers":     c.Workers,
		"server.log_level":   c.LogLevel,
	} {
		if value != "" {
			flags[key] = value
		}
	}
	return config.Load(config.Options{File: c.Config, Environ: os.Environ(), Flags: flags, ONNXRuntime: ort.Built})
}

// repository tells what to serve and what to do as versions are loaded.
func (c *serveCmd) repository(cfg *config.Config, metrics *telemetry.Metrics, log *slog.Logger) repository.Options {
	o := repository.Options{
		Root:         cfg.Model.ArtifactDir,
		ModelVersion: cfg.Model.Version,
		DefaultModel: cfg.Model.Default,
		Limits: artifact.Limits{
			MaxModelBytes:        int64(cfg.Model.MaxModelSize),
			MaxPreprocessorBytes: int64(cfg.Model.MaxPreprocessorSize),
			RequireHashes:        cfg.Model.RequireHashes,
		},
		MaxModels:   cfg.Model.MaxModels,
		MaxVersions: cfg.Model.MaxVersions,
		Loaders:     cmp.Or(cfg.Model.Loaders, cfg.Server.Workers),
		Poll:        cfg.Model.PollInterval,

		LoadTimeout:     cfg.Model.LoadTimeout,
		MaxLoadMemory:   int64(cfg.Model.MaxLoadMemory),
		QuarantineAfter: cfg.Model.QuarantineAfter,

		Lanes:  cfg.Server.Workers,
		Loaded: func(v *repository.Version) { loaded(v, &cfg.Drift, metrics, log) },
	}
	for _, limit := range repository.Limits() {
		metrics.ModelLimits(string(limit))
	}
	if o.Root == "" {
		o.Root = demoName
		sub, err := fs.Sub(demo.FS, demo.Dir)
		if err != nil {
			panic(err) // The folder is embedded.
		}
		o.FS, o.Poll = sub, 0
		if info, err := os.Stat("artifacts"); err == nil && info.IsDir() {
			log.Warn("serving the demo policy, although there is a folder ./artifacts: to serve it, say carla-rl serve ./artifacts", "event_type", "startup")
		}
	}
	return o
}

// demoName names the artifact inside the program.
const demoName = "the demo policy"

// ready tells the service manager when the first load has ended, well or
// badly: a policy that is refused is told in the status, as in /readyz, and
// does not keep the service from being up.
func ready(ctx context.Context, repo *repository.Repository, log *slog.Logger) {
	if repo.Wait(ctx) != nil {
		return
	}
	status := "ready"
	if err := repo.Readiness(); err != nil {
		status = "NOT READY: " + oneLine(err.Error())
	}
	tellManager(log, "READY=1", "STATUS="+status)
}

// announce prints where the server listens, and what it serves there, for the
// person who started it. It waits a little for the first load.
func (c *serveCmd) announce(s stdio, cfg *config.Config, addr net.Addr, repo *repository.Repository, signals chan os.Signal) {
	ctx, cancel := context.WithTimeout(context.Background(), announceAfter)
	defer cancel()
	go func() {
		select {
		case sig := <-signals:
			signals <- sig // Whoever waits for it next is to see it too.
			cancel()
		case <-ctx.Done():
		}
	}()
	state := "loading"
	if repo.Wait(ctx) == nil {
		state = "ready"
		if err := repo.Readiness(); err != nil {
			state = "NOT READY: " + oneLine(err.Error())
		}
	}
	what := cfg.Model.ArtifactDir
	if what == "" {
		what = demoName
	}
	pages := "API: /docs"
	if cfg.Server.Console {
		pages = "console: /console, " + pages
	}
	fmt.Fprintf(s.err, "carla-rl: serving %s at %s (%s); %s\n", oneLine(what), url(cfg, addr), pages, state)
}

// url is the address under which a person on this machine reaches the server.
func url(cfg *config.Config, addr net.Addr) string {
	if addr.Network() == "unix" {
		return "unix://" + addr.String()
	}
	scheme := "http"
	if cfg.Server.TLSCertFile != "" {
		scheme = "https"
	}
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return scheme + "://" + addr.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// drain stops the server without losing a request. A second signal, or the end
// of the time for it, cuts requests off.
func drain(srv *server.Server, signals <-chan os.Signal, limit time.Duration, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	go func() {
		select {
		case <-signals:
			log.Warn("told to stop once more: requests are cut off", "event_type", "shutdown")
			cancel()
		case <-ctx.Done():
		}
	}()
	begun := time.Now()
	if err := srv.Shutdown(ctx); err != nil {
		return &exitError{exitForced, fmt.Errorf("stop: requests were cut off: %w", err)}
	}
	log.Info("stopped", "event_type", "shutdown", "took", time.Since(begun))
	return nil
}

// shutdownMax is how long each helper of the server may take to stop.
const shutdownMax = 5 * time.Second

func shutdown(what string, log *slog.Logger, stop func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownMax)
	defer cancel()
	if err := stop(ctx); err != nil {
		log.Warn("did not stop cleanly", "event_type", "shutdown", "what", what, "error", err)
	}
}

func closeRepository(repo *repository.Repository, log *slog.Logger) {
	if err := repo.Close(); err != nil {
		log.Warn("did not stop cleanly", "event_type", "shutdown", "what", "repository", "error", err)
	}
}

// shownRoot is what clients see of the artifact folder's path: its last part.
func shownRoot(cfg *config.Config) string {
	if cfg.Model.ArtifactDir == "" {
		return demoName
	}
	return filepath.Base(filepath.Clean(cfg.Model.ArtifactDir))
}

// rootHint adds to an error of opening the root how to mend it.
func rootHint(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w (create it, or name another as carla-rl serve PATH or with ARTIFACT_DIR)", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w (give user %d the right to read it)", err, os.Getuid())
	case errors.Is(err, artifact.ErrNoVersion) && !strings.Contains(err.Error(), "MODEL_VERSION"):
		return fmt.Errorf("%w (set MODEL_VERSION to one of these)", err)
	}
	return err
}
