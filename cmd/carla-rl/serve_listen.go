package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/config"
	"github.com/carla-rl/carla-rl-serving/internal/console"
	"github.com/carla-rl/carla-rl-serving/internal/server"
	"github.com/carla-rl/carla-rl-serving/internal/telemetry"
)

// listenServer opens what the configuration says: a port, or a Unix domain
// socket.
func listenServer(cfg *config.Config) (net.Listener, error) {
	if path := cfg.Server.SocketPath(); path != "" {
		return listenUnix(path, cfg.Server.Mode())
	}
	return listen(cfg.Server.Host, cfg.Server.Port, "--port N or PORT")
}

// listenAdmin opens where the routes of admins are answered, or returns nil
// where they have no place of their own. A socket that was handed over goes first.
func listenAdmin(cfg *config.Config, given net.Listener) (net.Listener, error) {
	host, port, path := cfg.Server.AdminAddress()
	switch {
	case given != nil:
		return given, nil
	case path != "":
		return listenUnix(path, cfg.Server.Mode())
	case host != "":
		return listen(host, port, "server.admin_listen or CARLA_RL_ADMIN_LISTEN")
	}
	return nil, nil
}

// listen opens a port. Its errors say what is wrong and how to mend it.
func listen(host string, port int, setting string) (net.Listener, error) {
	addr := net.JoinHostPort(host, strconv.Itoa(port))
	// Go listens for multipath TCP by default. Nobody speaks it to a policy
	// server, and its sockets take no filter, by which a stopping server keeps
	// from losing connections.
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(context.Background(), "tcp", addr)
	switch {
	case err == nil:
		return ln, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("listen on %s: the port is in use (stop what listens there, or choose another with %s)", addr, setting)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("listen on %s: not permitted (ports below 1024 need a privilege; choose another with %s)", addr, setting)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("listen on %s: this machine does not have the address (0.0.0.0 is every address; --host or HOST sets it)", addr)
	}
	return nil, fmt.Errorf("listen on %s: %w", addr, err)
}

// consoleFiles are those of the page at /console.
func consoleFiles() []server.Asset {
	var list []server.Asset
	for _, f := range console.Files() {
		list = append(list, server.Asset(f))
	}
	return list
}

// serverOptions translates the configuration.
func serverOptions(cfg *config.Config, keys *server.Keys, info buildInfo, metrics *telemetry.Metrics, tracer *telemetry.Tracer, log *slog.Logger) (server.Options, error) {
	o := server.Options{
		Version: info.Version,
		Commit:  info.Commit,
		Limits: server.Limits{
			MaxBodyBytes:    int64(cfg.Security.MaxRequestSize),
			MaxBufferBytes:  int64(cfg.Server.MaxBufferedBytes),
			MaxHeaderBytes:  int(cfg.Server.MaxHeaderSize),
			MaxHeaderFields: cfg.Server.MaxHeaderFields,
			MaxRows:         cfg.Server.MaxRows,
			MaxConns:        cfg.Server.MaxConnections,
			MaxConnsPerIP:   cfg.Server.MaxConnectionsPerIP,
			HeaderTimeout:   cfg.Server.HeaderTimeout,
			BodyTimeout:     cfg.Server.BodyTimeout,
			IdleTimeout:     cfg.Server.IdleTimeout,
			WriteTimeout:    cfg.Server.WriteTimeout,
			RequestTimeout:  cfg.Server.RequestTimeout,
			MaxClockSkew:    cfg.Server.MaxClockSkew, MaxObservationAge: cfg.Server.MaxObservationAge,
			MaxStreams:       cfg.Server.MaxStreams,
			MaxStreamMessage: int64(cfg.Server.MaxStreamMessage),
			StreamPing:       cfg.Server.StreamPing,
			MaxAdminActs:     cfg.Server.MaxAdminActs,
			ReloadTimeout:    cfg.Server.ReloadTimeout,
			DrainUnready:     cfg.Server.DrainDelay,
			DrainAccept:      cfg.Server.DrainAccept,
		},
		AllowedHosts: cfg.Security.AllowedHosts,
		LoopbackOnly: !cfg.Exposed(),
		AdminApart:   cfg.Server.AdminListen != "", AdminLoopbackOnly: !cfg.AdminExposed(),
		CORSOrigins: cfg.Security.CORSOrigins,
		Keys:        keys,
		Metrics:     metrics,
		Logger:      log,
		AccessLog:   cfg.Server.AccessLog,
	}
	if o.Commit == "unknown" && cfg.Build.GitSHA != "" {
		o.Commit = cfg.Build.GitSHA
	}
	if cfg.Monitoring.EnableMetrics && ownMetricsPort(cfg) == 0 {
		o.MetricsHandler = metrics.Handler() // the server holds it to the keys
	}
	if cfg.Server.Console {
		o.Console = consoleFiles()
	}
	if tracer != nil {
		o.Tracer = tracer
	}
	o.Keyless = !cfg.HasKey()
	o.RateLimit = rate(cfg.Security.RateLimit)
	return o, nil
}

// ownMetricsPort is the port of /metrics where it is not the server's, else 0.
func ownMetricsPort(cfg *config.Config) int {
	if p := cfg.Monitoring.MetricsPort; cfg.Monitoring.EnableMetrics && p != cfg.Server.Port {
		return p
	}
	return 0
}

// serveMetrics answers /metrics on a socket that was handed over for it, or on a
// port of its own where the configuration has one. The server that it returns
// answers nothing otherwise.
func serveMetrics(cfg *config.Config, ln net.Listener, keys *server.Keys, metrics *telemetry.Metrics, log *slog.Logger) (*http.Server, error) {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", keys.Guard(metrics.Handler()))
	srv := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: cfg.Server.HeaderTimeout,
		ReadTimeout:       cfg.Server.HeaderTimeout,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       cfg.Server.IdleTimeout,
		MaxHeaderBytes:    int(cfg.Server.MaxHeaderSize),
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return context.Background() },
	}
	if ln == nil {
		port := ownMetricsPort(cfg)
		if port == 0 {
			return srv, nil
		}
		var err error
		host := cfg.Server.Host
		if cfg.Server.SocketPath() != "" {
			host = "127.0.0.1" // a port is on an address
		}
		if ln, err = listen(host, port, "monitoring.metrics_port or METRICS_PORT"); err != nil {
			return nil, err
		}
	}
	log.Info("metrics have a port of their own", "event_type", "startup", "address", ln.Addr().String())
	go func() {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the metrics server ended", "error", err)
		}
	}()
	return srv, nil
}

// logOptions translates the configuration. Lines are text on a terminal and
// JSON elsewhere, unless it says.
func logOptions(cfg *config.Config, out io.Writer) telemetry.LogOptions {
	o := telemetry.LogOptions{
		Level:      cfg.Server.LogLevel,
		Format:     cfg.Monitoring.LogFormat,
		Output:     out,
		File:       cfg.Monitoring.LogFile,
		MaxSizeMB:  int(cfg.Monitoring.LogFileMaxSize >> 20),
		MaxBackups: cfg.Monitoring.LogFileMaxCount,
	}
	if o.Format == "auto" {
		o.Format = "json"
		if f, ok := out.(*os.File); ok {
			if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
				o.Format = "text"
			}
		}
	}
	return o
}
